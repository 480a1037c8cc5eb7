//! `auditlog verify`: checks that a log is as it was signed, and that it extends the log verified before.

mod check;
mod disclosed;
mod source;
mod state;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{anyhow, ensure};
use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::json;

use super::client::ClientArgs;
use super::table::visible;
use super::{NotVerified, Unchecked};
use crate::error::Error;
use auditlog_verify::log::{ErasedGroups, RecordSigner, Removal, Trust, Violation};
use auditlog_verify::merkle::{VerifierKey, open};
use check::{Check, Checked};
pub(super) use disclosed::disclosed_entry;
use source::CHECKPOINT_TIMEOUT;
pub(super) use source::{Source, checkpoint_backoff, claimed_size, hashes};
use state::State;

#[derive(Args)]
#[command(after_help = "\
Exit codes: 0 verified, 1 not verified, 2 wrong usage, 3 could not be checked.

Examples:
  auditlog verify --organization org_abc123 --state org_abc123.state \\
    --public-key audit.example.com/0123…+1a2b3c4d+AQ…
  auditlog verify --organization org_abc123 --state org_abc123.state

Without a key from a source that you trust, trust the key that the service
reports now, and no other key later:
  auditlog verify --organization org_abc123 --state org_abc123.state \\
    --trust-first-key")]
pub struct VerifyArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Organization id.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG", required = true)]
    organization: String,
    #[command(flatten)]
    keys: TrustedKeyArgs,
    /// State file, which remembers the checkpoint and the keys of the log. It is written after each success, and the
    /// next run compares the log with it. If a rollback was explained to you, move the file away to start anew.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// If no key is given or remembered: trust the reported key that signs now, and other reported keys for records of
    /// erasures.
    #[arg(long)]
    trust_first_key: bool,
    /// Read only the entries after those that --state remembers. Later changes and erasures of earlier entries are not
    /// detected.
    #[arg(long, requires = "state")]
    since_last: bool,
    /// Report on standard error each group of values that was properly erased.
    #[arg(long)]
    verbose: bool,
    /// Print the verdict as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// The keys to trust.
#[derive(Args)]
pub(super) struct TrustedKeyArgs {
    /// Trusted verifier key of the log, as `name+id+key`. Repeat the option, or separate keys by commas. All keys must
    /// be of one log.
    #[arg(long, value_name = "KEY", value_delimiter = ',', value_parser = VerifierKey::parse)]
    pub(super) public_key: Vec<VerifierKey>,
}

impl VerifyArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        self.verify().await.map_err(Unchecked::of)
    }

    async fn verify(self) -> anyhow::Result<()> {
        let Self { client, organization, keys, state: path, trust_first_key, since_last, verbose, json } = self;
        let state = path.as_deref().map(State::read).transpose()?.flatten();
        // Checked first: otherwise the error would follow only after all entries were read.
        if let Some(directory) = path.as_deref().and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty())
        {
            ensure!(directory.is_dir(), "cannot write the --state: there is no directory {}", directory.display());
        }
        let progress = ProgressBar::new(0);
        progress.set_style(ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}, {eta} left")?);
        let source = Source::new(&client, organization, progress.clone())?;
        let trust = trusted(&source, keys, state.as_ref(), trust_first_key).await?;
        let begun = Instant::now();
        let on_removal = |removal: Removal| {
            if verbose {
                let Removal { seq, group, recorded_by, signed_by } = removal;
                let signed = match signed_by {
                    RecordSigner::GivenKey => "",
                    RecordSigner::OtherKey => ", signed by another key of the log",
                    RecordSigner::Nobody => ", not signed, before the log had keys",
                };
                progress.suspend(|| {
                    tell!("properly erased: {} of entry {seq}, by entry {recorded_by}{signed}", group.name());
                });
            }
        };
        let check = Check {
            source,
            trust: trust.clone(),
            state: state.as_ref(),
            since_last,
            progress: progress.clone(),
            on_removal: &on_removal,
        };
        let checked = check.run().await;
        progress.finish_and_clear();
        let checked = checked?;
        let elapsed = begun.elapsed().as_secs_f64();
        let rate = (checked.read as f64 / elapsed.max(0.001)) as u64;
        if checked.read > 0 {
            tell!("{} entries in {elapsed:.1} s ({}/s)", HumanCount(checked.read), HumanCount(rate));
        }
        // Written before the verdict, because the verdict promises it.
        if let (None, false, Some(path), Some(state)) =
            (&checked.violation, checked.lacks_records, &path, &checked.state)
        {
            state.write(path)?;
        }
        tell_verdict(&checked, &trust, json)?;
        match checked.unsigned {
            Some((first, last)) => Err(unsigned(first, last, checked.lacks_records)),
            None => Ok(()),
        }
    }
}

/// The given and the remembered keys. If there are none and `trust_first_key` is set, the keys that the service
/// reports.
async fn trusted(
    source: &Source,
    keys: TrustedKeyArgs,
    state: Option<&State>,
    trust_first_key: bool,
) -> anyhow::Result<Trust> {
    let (remembered, former) = state.map(|state| (state.trust.keys(), state.trust.former())).unwrap_or_default();
    let mut known: Vec<_> = keys.public_key.into_iter().chain(remembered.iter().cloned()).collect();
    let mut former = former.to_vec();
    if known.is_empty() && trust_first_key {
        let note = source.checkpoint().await?.ok_or(Error::CheckpointNotFound)?;
        let reported = source.keys().await?;
        let key = signing(&reported, &note).ok_or_else(|| anyhow!("the service reports no key; it does not sign"))?;
        tell!("trusting the key that the service reports, without any other evidence: {}", key.text());
        known.push(key.clone());
        // A former key has signed the records of erasures of its time.
        for other in reported.iter().filter(|other| *other != key) {
            tell!("trusting only for records of erasures: {}", other.text());
            former.push(other.clone());
        }
    }
    if known.is_empty() {
        return Err(anyhow!(
            "there is no key to verify with: give --public-key, a --state that remembers one, or --trust-first-key to \
             trust the key that the service reports"
        ));
    }
    Ok(Trust::new(known)?.with_former(former)?)
}

/// The key in `keys` that has signed `note`. After a rotation, it is not the oldest. If none has signed, the first key,
/// so that the verdict reports the missing signature.
fn signing<'a>(keys: &'a [VerifierKey], note: &str) -> Option<&'a VerifierKey> {
    let signs = |key: &&VerifierKey| open(note, std::slice::from_ref(*key)).is_ok();
    keys.iter().find(signs).or(keys.first())
}

/// The error for a log whose last entries are not signed.
fn unsigned(first: u64, last: u64, lacks_records: bool) -> anyhow::Error {
    let records = if lacks_records { ", which may record what was erased," } else { "" };
    anyhow!(
        "the entries {first} to {last}{records} are not signed, even after {} seconds; ask the operator of the \
         service why it does not sign",
        CHECKPOINT_TIMEOUT.as_secs()
    )
}

/// Prints the verdict as one line. Errors: `NotVerified`, for the exit code.
fn tell_verdict(checked: &Checked, trust: &Trust, json: bool) -> anyhow::Result<()> {
    let Checked { violation, id, read, erased, unsigned, lacks_records: _, state } = checked;
    let origin = trust.origin().as_str();
    let line = match (violation, state) {
        (Some(Violation { kind, entries, why }), _) if json => {
            let (first, last) = entries.unzip();
            json!({
                "verified": false, "origin": origin, "kind": kind, "firstEntry": first, "lastEntry": last, "id": id,
                "message": why, "erased": erased.proper(), "erasedBy": erased_by(*erased),
            })
            .to_string()
        }
        (Some(violation), _) => {
            let id = id.as_deref().map(|id| format!(" [{}]", visible(id))).unwrap_or_default();
            format!("NOT VERIFIED: {}{id}", visible(&violation.to_string()))
        }
        (None, Some(state)) if json => json!({
            "verified": true, "origin": origin, "size": state.checkpoint.size,
            "root": state.checkpoint.root.to_string(), "read": read, "erased": erased.proper(),
            "erasedBy": erased_by(*erased),
            "unsigned": unsigned.map_or(0, |(first, last)| last + 1 - first),
        })
        .to_string(),
        (None, Some(state)) => {
            let erased = erased_in_words(*erased);
            let (size, root) = (HumanCount(state.checkpoint.size), state.checkpoint.root);
            let unread = match state.checkpoint.size - read {
                0 => String::new(),
                unread => format!("; {} of them were verified before and not read again", HumanCount(unread)),
            };
            format!("verified: {size} entries of {origin}, root {root}{erased}{unread}")
        }
        (None, None) => return Err(anyhow!("nothing was verified")),
    };
    writeln!(std::io::stdout(), "{line}")?;
    if violation.is_some() { Err(NotVerified.into()) } else { Ok(()) }
}

/// The number of erased groups with a record, by the key that signed the record.
fn erased_by(erased: ErasedGroups) -> serde_json::Value {
    let ErasedGroups { given_key, other_key, unsigned, refused } = erased;
    json!({ "givenKey": given_key, "otherKey": other_key, "unsigned": unsigned, "refused": refused })
}

/// The properly erased groups of a verified log, for a person; empty if there are none.
fn erased_in_words(erased: ErasedGroups) -> String {
    let ErasedGroups { given_key: _, other_key, unsigned, refused: _ } = erased;
    let mut words = match erased.proper() {
        0 => return String::new(),
        1 => "; 1 group of values was properly erased".to_owned(),
        many => format!("; {} groups of values were properly erased", HumanCount(many)),
    };
    let others = [(other_key, "signed by another key of the log"), (unsigned, "not signed, before the log had keys")];
    for (count, how) in others.into_iter().filter(|(count, _)| *count > 0) {
        words.push_str(&format!(", {} with records {how}", HumanCount(count)));
    }
    words
}
