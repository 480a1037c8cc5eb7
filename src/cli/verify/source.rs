//! Reads a log for a verifier from a running service, and retries while the service is unavailable.

use std::time::Duration;

use anyhow::{anyhow, ensure};
use indicatif::ProgressBar;
use tonic::transport::Endpoint;
use tonic::{Code, Response, Status, Streaming};
use tonic_types::StatusExt;

use super::super::client::{ClientArgs, IntegrityClient, Retry, explained, is_for};
use crate::error::Reason;
use crate::grpc::pb;
use crate::retry::Backoff;
use auditlog_verify::merkle::{Hash, TilePath, VerifierKey};

/// How long to wait for a checkpoint of new entries, and the pause between polls. A service signs every second, or
/// every few seconds if it has many logs.
pub(in crate::cli) const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(10);
const CHECKPOINT_BACKOFF: Duration = Duration::from_millis(250);

/// A client for the log of one organization.
#[derive(Clone)]
pub(in crate::cli) struct Source {
    client: IntegrityClient,
    pub(super) organization: String,
    endpoint: Endpoint,
    progress: ProgressBar,
}

/// The pauses between polls for the next checkpoint.
pub(in crate::cli) fn checkpoint_backoff() -> Backoff {
    Backoff::new(CHECKPOINT_BACKOFF, CHECKPOINT_BACKOFF).within(CHECKPOINT_TIMEOUT)
}

impl Source {
    /// Prepares a client for the log of `organization`. It reports outages above `progress`.
    pub(in crate::cli) fn new(
        client: &ClientArgs,
        organization: String,
        progress: ProgressBar,
    ) -> anyhow::Result<Self> {
        Ok(Self { client: client.integrity()?, organization, endpoint: client.endpoint.clone(), progress })
    }

    async fn call<T, F>(&self, call: impl Fn(IntegrityClient) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.retry().call(|| call(self.client.clone())).await
    }

    /// The answer of a call; `None` if `is_missing` says that the service does not have it.
    fn found<T>(&self, answer: Result<T, Status>, is_missing: impl Fn(&Status) -> bool) -> anyhow::Result<Option<T>> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(status) if is_missing(&status) => Ok(None),
            Err(status) => Err(self.explained(&status)),
        }
    }

    /// A new retry for calls to the service.
    pub(super) fn retry(&self) -> Retry {
        Retry::new(&self.progress)
    }

    /// An error that explains `status` to a person.
    pub(in crate::cli) fn explained(&self, status: &Status) -> anyhow::Error {
        explained(status, &self.endpoint)
    }

    /// The latest checkpoint as a signed note; `None` before the first.
    pub(in crate::cli) async fn checkpoint(&self) -> anyhow::Result<Option<String>> {
        let request = pb::GetCheckpointRequest { organization_id: self.organization.clone() };
        let answer = self.call(async |mut client: IntegrityClient| client.get_checkpoint(request.clone()).await).await;
        let found = self.found(answer, |status| is_for(status, Reason::CheckpointNotFound))?;
        Ok(found.map(|answer| answer.checkpoint))
    }

    /// The keys of the log that the service reports, oldest first.
    pub(in crate::cli) async fn keys(&self) -> anyhow::Result<Vec<VerifierKey>> {
        let request = pb::GetPublicKeysRequest { organization_id: self.organization.clone() };
        let answer = self.call(async |mut client: IntegrityClient| client.get_public_keys(request.clone()).await).await;
        let keys = answer.map_err(|status| self.explained(&status))?.public_keys.into_iter();
        Ok(keys.map(|key| VerifierKey::parse(&key.verifier_key)).collect::<Result<_, _>>()?)
    }

    /// The proof that the log of `second` entries extends the log of `first` entries; `None` if the service has none.
    pub(super) async fn consistency(&self, first: u64, second: u64) -> anyhow::Result<Option<Vec<Hash>>> {
        let request = pb::GetConsistencyProofRequest {
            organization_id: self.organization.clone(),
            first_size: first.try_into()?,
            second_size: Some(second.try_into()?),
        };
        let answer =
            self.call(async |mut client: IntegrityClient| client.get_consistency_proof(request.clone()).await).await;
        Ok(self.found(answer, is_lacking)?.and_then(|answer| hashes(&answer.hashes)))
    }

    /// The hashes of a tile; `None` if the service lacks the tile, or returns it malformed.
    pub(super) async fn tile(&self, path: TilePath) -> anyhow::Result<Option<Vec<Hash>>> {
        let request = pb::GetTileRequest { organization_id: self.organization.clone(), path: path.to_string() };
        let answer = self.call(async |mut client: IntegrityClient| client.get_tile(request.clone()).await).await;
        Ok(self.found(answer, is_lacking)?.and_then(|answer| hashes(answer.data.chunks(Hash::LENGTH))))
    }

    /// The proof that the entry `id` is in the tree of `size` entries; `None` if the tree does not include it yet.
    pub(in crate::cli) async fn inclusion(
        &self,
        id: &str,
        size: u64,
    ) -> anyhow::Result<Option<pb::GetInclusionProofResponse>> {
        let request = pb::GetInclusionProofRequest {
            organization_id: self.organization.clone(),
            entry: Some(pb::get_inclusion_proof_request::Entry::Id(id.to_owned())),
            size: Some(size.try_into()?),
        };
        let answer =
            self.call(async |mut client: IntegrityClient| client.get_inclusion_proof(request.clone()).await).await;
        self.found(answer, |status| is_about(status, "size"))
    }

    /// A stream of the entries after the number `after`, at most `limit` or all for 0; `None` if the log has no such
    /// number. Does not retry.
    pub(super) async fn stream(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<Option<Streaming<pb::ReadEntriesResponse>>, Status> {
        let request =
            pb::ReadEntriesRequest { organization_id: self.organization.clone(), after_sequence: after, limit };
        match self.client.clone().read_entries(request).await {
            Ok(stream) => Ok(Some(stream.into_inner())),
            Err(status) if is_about(&status, "after_sequence") => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// The entry with the number `seq`; `None` if there is none.
    pub(in crate::cli) async fn entry(&self, seq: i64) -> anyhow::Result<Option<pb::LogEntry>> {
        let mut retry = self.retry();
        loop {
            let read = async {
                let Some(mut stream) = self.stream(seq - 1, 1).await? else { return Ok(None) };
                let mut found = None;
                while let Some(piece) = stream.message().await? {
                    found = found.or_else(|| piece.entries.into_iter().find(|entry| entry.sequence == seq));
                }
                Ok(found)
            };
            match read.await {
                Ok(found) => return Ok(found),
                Err(status) => retry.wait(status).await.map_err(|status| self.explained(&status))?,
            }
        }
    }
}

/// Whether the service reports that the requested data is missing or damaged.
fn is_lacking(status: &Status) -> bool {
    is_for(status, Reason::TileNotFound) || matches!(status.code(), Code::Internal | Code::InvalidArgument)
}

/// Whether the service reports that the next entry of a stream is damaged.
pub(super) fn is_damaged(status: &Status) -> bool {
    is_for(status, Reason::EntryDamaged)
}

/// Whether the service refuses the request because of `field`.
fn is_about(status: &Status, field: &str) -> bool {
    let violations = status.get_details_bad_request().map(|request| request.field_violations).unwrap_or_default();
    violations.iter().any(|violation| violation.field == field)
}

/// Hashes of 32 bytes each; `None` if one has another length.
pub(in crate::cli) fn hashes<'a>(
    bytes: impl IntoIterator<Item = &'a (impl AsRef<[u8]> + ?Sized + 'a)>,
) -> Option<Vec<Hash>> {
    bytes.into_iter().map(|bytes| Hash::of_bytes(bytes.as_ref()).ok()).collect()
}

/// The size in the checkpoint `note`, whose signature is not checked yet. Errors: it is malformed, or the size is 0.
pub(in crate::cli) fn claimed_size(note: &str) -> anyhow::Result<u64> {
    let size = note.lines().nth(1).and_then(|size| size.parse().ok());
    let size = size.ok_or_else(|| anyhow!("the service returned a malformed checkpoint"))?;
    ensure!(size > 0, "the checkpoint has no entries");
    Ok(size)
}
