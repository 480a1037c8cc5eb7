//! The service: the store, the capabilities on top of it, and gRPC and REST on one port.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use axum::Router;
use moka::future::Cache;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{info, warn};

use super::admission::Admission;
use super::background::Jobs;
use super::health::{self, AUDIT_LOGS, ERASURES, HISTORIES, HealthStatuses, PROOFS, SERVER};
use super::http::early_refusal::refusing_early;
use super::http::protocols::{Protocols, path};
use super::http::{reflection, viewer};
use super::jobs::{ContinuityJob, CountJob, DatabaseHealthJob, FollowJob, SigningJob};
use super::server::{self, Running, ServiceHandles};
use super::{Serving, metrics_server};
use crate::access::Access;
use crate::catalogue::Catalogues;
use crate::counts::EntryCounter;
use crate::domain::{Clock, Random};
use crate::error::Error;
use crate::grpc::pb::audit_log_service_server::AuditLogServiceServer;
use crate::grpc::pb::erasure_service_server::ErasureServiceServer;
use crate::grpc::pb::history_service_server::HistoryServiceServer;
use crate::grpc::pb::integrity_service_server::IntegrityServiceServer;
use crate::grpc::{self, MAX_REQUEST, MAX_RESPONSE, pb};
use crate::history::History;
use crate::ingest::{Batch, Eraser, Ingest, LoadRecordKeys, QueueLimits, RecordKeys};
use crate::integrity::Integrity;
use crate::limits::{Budget, KeyBudgets};
use crate::metrics::Metrics;
use crate::query::Query;
use crate::rest;
use crate::signer::{CheckpointKeys, Record, Signer, Signing};
use crate::store::Store;
use auditlog_verify::merkle::SERVICE;

/// The default number of reads that may run or wait. If each takes 0.1 s of one of ten connections, the last one waits
/// three seconds.
pub const READS: usize = 320;
/// The default rate limit of a key, in requests per second: less than half of what two cores can serve, so that a
/// runaway client leaves the rest to others. With 1,000 entries per request, it is far more than a writer needs.
pub const RATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(1_999);
/// The pause between two checks of new entries for breaks of continuity. A check reads all entries of each resource that
/// has a new one.
pub const CONTINUITY_PERIOD: Duration = Duration::from_secs(60);

/// How long the signer waits until its entry is written. The log may be locked.
const MAX_RECORDING: Duration = Duration::from_secs(30);
/// How long a successful readiness check is cached.
const READY_TTL: Duration = Duration::from_secs(1);

/// The options of the service.
#[derive(Debug, Clone)]
pub struct Options {
    /// Options that the gateway has too.
    pub serving: Serving,
    /// Whether REST is served beside gRPC.
    pub rest: bool,
    /// Whether this process keeps the running counts up to date.
    pub running_counts: bool,
    /// The pause between two checks of new entries for breaks of continuity. `None` disables these checks.
    pub continuity_checks: Option<Duration>,
    /// The limits of the write queue.
    pub queue: QueueLimits,
    /// The maximum number of reads that run or wait for a database connection.
    pub reads: usize,
    /// The rate limit of each key, in requests per second.
    pub rate: NonZeroU32,
    /// The keys that sign checkpoints. `None` disables signing.
    pub signing: Option<Signing>,
}

/// The dependencies of a service, which tests replace.
pub struct ServiceParts {
    /// The database.
    pub store: Store,
    /// The current time.
    pub clock: Clock,
    /// For entry ids, salts and log ids.
    pub random: Random,
}

/// Binds the port and starts the service.
pub async fn start(parts: ServiceParts, options: Options) -> anyhow::Result<Running> {
    let ServiceParts { store, clock, random } = parts;
    let Options { serving, rest, running_counts, continuity_checks, queue, reads, rate, signing } = options;
    let metrics = Metrics::default();
    store.check_writers().await?;
    let bound = server::bind(&serving.listen, serving.limits.connections).await?;
    let scraped = metrics_server::start(serving.metrics_listen.as_deref(), &metrics).await?;
    let budgets = KeyBudgets::of(Budget::new(serving.limits.bytes));
    let store = store.with_read_limits(reads, budgets.clone(), metrics.clone());
    let pooled = store.clone();
    metrics.pools(move || pooled.pools());
    let (ingest, committers) = Ingest::start(store.clone(), clock.clone(), random.clone(), queue, &metrics);
    // The rest of the request's time is for the last transaction, and for readers that it waits for.
    let erasing = serving.request_timeout / 3;
    let keys = signing.clone().map(|signing| record_keys(signing, clock.clone()));
    let eraser = Eraser::new(store.clone(), clock.clone(), random.clone(), erasing, keys, &metrics);
    let integrity = Integrity::new(store.clone(), signing.as_ref().map(|signing| signing.log_name.clone()));
    let health = HealthStatuses::serving(&[SERVER, AUDIT_LOGS, ERASURES, HISTORIES, PROOFS]);
    let mut jobs = start_jobs(&store, &clock, &health, &metrics, (running_counts, continuity_checks));
    if let Some(job) = signing_job(&store, &clock, signing, &ingest, &health, &metrics).await? {
        jobs.spawn(job);
    }
    let access = Arc::new(Access::new(store.clone(), clock.clone(), rate, metrics.clone()));
    let draining = CancellationToken::new();
    let service = Arc::new(grpc::Service {
        access: Arc::clone(&access),
        query: Query::new(store.clone()),
        history: History::new(store.clone()),
        integrity,
        ingest: ingest.clone(),
        eraser,
        catalogues: Catalogues::new(store.clone()),
        clock,
        random,
        draining: draining.clone(),
        request_timeout: serving.request_timeout,
    });
    let admission = Admission::new(serving.limits, budgets.clone(), Some(access), &metrics);
    let grpc = grpc_router(&service, &admission, &ingest, health.clone())?;
    let rest_router = match rest {
        true => {
            let (store, draining) = (store.clone(), draining.clone());
            let pings = Cache::builder().time_to_live(READY_TTL).build();
            let ready = move || ready(store.clone(), pings.clone(), draining.is_cancelled());
            let keyed = |router| admission.keyed(refusing_early(router, &ingest, rest::respond), rest::respond);
            let keyless = |router| admission.keyless(router, rest::respond);
            let pages = if serving.viewer { viewer::routes() } else { Router::new() };
            rest::router(service, keyed, keyless, pages, ready)
        }
        false => rest::switched_off(),
    };
    let protocols = Protocols::new(grpc, "There is no such method", rest_router, &serving, (admission, &metrics))?;
    let backing = ServiceHandles { store, committers, jobs };
    let running =
        server::spawn(bound, protocols, (budgets.whole, metrics), serving, (draining, health), Some(backing), scraped);
    info!(address = %running.address, rest, "listening");
    Ok(running)
}

/// Starts the jobs that need no signing key. `running_counts` and `continuity_checks` are those of [`Options`].
fn start_jobs(
    store: &Store,
    clock: &Clock,
    health: &HealthStatuses,
    metrics: &Metrics,
    (running_counts, continuity_checks): (bool, Option<Duration>),
) -> Jobs {
    let mut jobs = Jobs::new(metrics, clock.clone());
    jobs.spawn(DatabaseHealthJob::new(store.clone(), health.clone()));
    jobs.spawn(FollowJob::new(store.for_jobs(), metrics));
    if running_counts {
        jobs.spawn(CountJob { counter: EntryCounter::new(store.for_jobs()), lag: metrics.counting_lag(), ticks: 0 });
    }
    if let Some(period) = continuity_checks {
        jobs.spawn(ContinuityJob::new(store.for_jobs(), period, metrics));
    }
    jobs
}

/// The signing job; `None` without a signing key.
async fn signing_job(
    store: &Store,
    clock: &Clock,
    signing: Option<Signing>,
    ingest: &Ingest,
    health: &HealthStatuses,
    metrics: &Metrics,
) -> anyhow::Result<Option<SigningJob>> {
    let is_missing = signing.is_none() && store.was_signed().await?;
    metrics.signing(signing.is_some(), is_missing);
    let Some(signing) = signing else {
        health.set(PROOFS, false);
        match is_missing {
            true => {
                warn!("logs were signed before, and no signing key is configured: new entries are not signed")
            }
            false => info!("checkpoints are not signed: no signing key is configured"),
        }
        return Ok(None);
    };
    let signer = Signer::new(store.for_jobs(), clock.clone(), signing, recorder(ingest.clone()))?;
    Ok(Some(SigningJob::new(signer, health.clone(), metrics.checkpoints())))
}

/// Returns a loader of the keys of `signing` that sign erasure records. It reads the key file anew at each call.
pub fn record_keys(signing: Signing, clock: Clock) -> LoadRecordKeys {
    Arc::new(move |log_id, known| {
        let Signing { key_file, log_name } = &signing;
        Ok(RecordKeys {
            origin: log_name.origin(log_id)?,
            keys: CheckpointKeys::load(key_file)?.into_known(known, clock.now()),
        })
    })
}

/// Returns a function that writes the service's own entries.
pub fn recorder(ingest: Ingest) -> Record {
    Box::new(move |organization, entry, catalogue| {
        let ingest = ingest.clone();
        Box::pin(async move {
            let batch = Batch { organization, key_id: SERVICE.to_owned(), catalogue, entries: vec![entry] };
            let written = timeout(MAX_RECORDING, ingest.write(batch)).await.map_err(|_| Error::WriteTimeout)??;
            let first = written.first().map(|written| written.seq);
            first.ok_or_else(|| Error::Internal(anyhow!("a write of one entry has no answer")))
        })
    })
}

/// Whether the service can take requests. All callers share one cached database ping, since readiness needs no key.
async fn ready(store: Store, pings: Cache<(), ()>, is_draining: bool) -> Result<(), Status> {
    if is_draining {
        return Err(Error::Draining.into());
    }
    Ok(pings.try_get_with((), store.ping()).await.map_err(|error| error.clone_with_context("asking the database"))?)
}

fn grpc_router(
    service: &Arc<grpc::Service>,
    admission: &Admission,
    ingest: &Ingest,
    health: HealthStatuses,
) -> anyhow::Result<Router> {
    let integrity = IntegrityServiceServer::from_arc(Arc::clone(service))
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(MAX_RESPONSE);
    let erasure = ErasureServiceServer::from_arc(Arc::clone(service)).max_decoding_message_size(MAX_REQUEST);
    let history = HistoryServiceServer::from_arc(Arc::clone(service))
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(MAX_RESPONSE);
    let audit_logs = AuditLogServiceServer::from_arc(Arc::clone(service))
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(MAX_RESPONSE);
    let keyed = Router::new()
        .route_service(&path(&audit_logs), audit_logs.clone())
        .route_service(&path(&integrity), integrity.clone())
        .route_service(&path(&erasure), erasure.clone())
        .route_service(&path(&history), history.clone());
    let health = health::server(health);
    let reflection = reflection::routes(&[pb::DESCRIPTORS, tonic_types::pb::FILE_DESCRIPTOR_SET])?;
    let keyless = Router::new().route_service(&path(&health), health.clone()).merge(reflection);
    let keyed = refusing_early(keyed, ingest, grpc::status::respond);
    Ok(admission.keyed(keyed, grpc::status::respond).merge(admission.keyless(keyless, grpc::status::respond)))
}
