//! The database: the only module that names sea-orm. What a caller reads comes from a [`Snapshot`],
//! what it writes goes through an [`Append`]; both show where they begin and end.

mod append;
mod catalogue;
mod checkpoints;
mod connections;
mod counts;
mod dialect;
mod entities;
mod erase;
mod errors;
mod files;
mod fold;
mod keys;
mod list;
mod log;
mod organizations;
mod permits;
mod recent;
mod rows;
mod schema;
mod secrets;
mod server;
mod sql;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use sea_orm::ConnectionTrait;

use crate::domain::Secret;
use crate::error::{Error, Result};
use crate::metrics::Pool;
use connections::Connections;
use dialect::Missing;
use permits::ReadPermits;
use recent::Recent;

pub use append::{Append, CommitFailed, HashedEntry, Head};
pub use catalogue::{Addition, Removal};
pub use checkpoints::LogStatus;
pub use counts::{KeyState, Mark, State};
pub use erase::{Erasable, ErasedGroupHash, ErasureCount};
pub use fold::{Fold, KeyMarks, Lag, Rung, Unfolded, Whole};
pub use keys::ApiKey;
pub use list::{PageRequest, ScanRange, Snapshot};
pub use log::{LogHead, LogKey, SignedCheckpoint};
pub use organizations::Organization;
pub use permits::ReadPermit;
pub use schema::schema_version;
pub use secrets::{CURSOR_KEY_BYTES, CURSOR_KEY_ID};
pub use sql::IndexScan;

/// How long a connection in use may delay the end.
const CLOSING: Duration = Duration::from_secs(1);

/// How long the database may take to say that it is there. More than a pool waits for a connection.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A database with the schema of this version.
#[derive(Clone)]
pub struct Store {
    /// Many connections on either database.
    readers: Connections,
    /// Those of work that nobody waits for, where the readers' statements have a limit of time.
    jobs: Option<Connections>,
    /// One connection on SQLite, which has one writer; a few on PostgreSQL.
    writers: Connections,
    /// Those of a role of its own, where the writers' may not erase.
    erasers: Option<Connections>,
    /// The entries that were appended last, for the aggregator.
    recent: Arc<Recent>,
    /// The permits of reads.
    permits: ReadPermits,
}

impl Store {
    /// Connects to `url`, `sqlite://path` or `postgres://…`, with at most `connections` connections to
    /// read with, and refuses a database that cannot keep what it acknowledges. The schema is left as
    /// it is.
    pub async fn connect(url: &Secret, connections: u32) -> anyhow::Result<Self> {
        Self::connect_to(url, connections, Missing::Create).await
    }

    async fn connect_to(url: &Secret, connections: u32, missing: Missing) -> anyhow::Result<Self> {
        let (readers, writers) = dialect::connect(url.expose(), connections, missing).await?;
        let permits = ReadPermits::new(connections);
        Ok(Self { readers, jobs: None, writers, erasers: None, recent: Arc::default(), permits })
    }

    /// Connects, brings the schema up to date, and checks it. One that is up to date is only looked at, which any role
    /// may do.
    pub async fn open(url: &Secret, connections: u32) -> anyhow::Result<Self> {
        let store = Self::connect(url, connections).await?;
        if store.lacks_steps().await? {
            store.migrate().await?;
        } else {
            store.check().await?;
        }
        Ok(store)
    }

    /// Connects to a database that is there with the schema of this version, and creates nothing.
    pub async fn open_existing(url: &Secret, connections: u32) -> anyhow::Result<Self> {
        let store = Self::connect_to(url, connections, Missing::Refuse).await?;
        store.check().await?;
        Ok(store)
    }

    /// The same, erasing by connections to `url`: those of a role that may, to the same PostgreSQL database.
    pub async fn erasing_by(self, url: &Secret) -> anyhow::Result<Self> {
        let store = Self { erasers: Some(dialect::connect_eraser(url.expose()).await?), ..self };
        if !store.may_erase().await? {
            bail!("the role of the database URL to erase by has no right to change the columns that are erased");
        }
        Ok(store)
    }

    /// The same, reading for requests by connections of their own, whose statements end after `limit`.
    pub async fn limiting_reads(self, url: &Secret, connections: u32, limit: Duration) -> anyhow::Result<Self> {
        let limited = dialect::connect_readers(url.expose(), connections, limit, self.readers.origin()).await?;
        Ok(Self { jobs: Some(self.readers), readers: limited, ..self })
    }

    /// The same for work that nobody waits for, which may take its time.
    #[must_use]
    pub fn for_jobs(&self) -> Self {
        Self { readers: self.jobs.as_ref().unwrap_or(&self.readers).clone(), ..self.clone() }
    }

    /// Whether the database answers, and is the one that was opened. Errors: `StorageUnavailable`.
    pub async fn ping(&self) -> Result<()> {
        match tokio::time::timeout(PING_TIMEOUT, self.readers.ping()).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Error::StorageUnavailable(anyhow!("no answer within {} s", PING_TIMEOUT.as_secs()))),
        }
    }

    fn erasers(&self) -> &Connections {
        self.erasers.as_ref().unwrap_or(&self.writers)
    }

    /// How its connections are used.
    pub fn pools(&self) -> Vec<Pool> {
        let pools = [
            ("readers", Some(&self.readers)),
            ("jobs", self.jobs.as_ref()),
            ("writers", Some(&self.writers)),
            ("erasers", self.erasers.as_ref()),
        ];
        pools.into_iter().filter_map(|(name, connection)| Some(dialect::pool(name, connection?))).collect()
    }

    /// Begins to read. What one call gives was true at one moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::any(self.readers.clone())
    }

    /// Begins to read: everything that the snapshot gives was true at one moment.
    pub async fn held_snapshot(&self) -> Result<Snapshot> {
        let options = dialect::snapshot(self.readers.get_database_backend());
        Ok(Snapshot::held(self.readers.begin(options).await?))
    }

    /// Begins to append. Nothing is seen by others before [`Append::commit`].
    pub async fn append(&self) -> Result<Append> {
        self.begin(&self.writers).await
    }

    async fn begin(&self, connections: &Connections) -> Result<Append> {
        let options = dialect::append(connections.get_database_backend());
        let transaction = connections.begin(options).await?;
        Ok(Append::new(transaction, Arc::clone(connections.origin()), Arc::clone(&self.recent)))
    }

    /// Closes the connections, so that SQLite folds its log into the file. One that is in use for long
    /// is left to the end of the process.
    pub async fn close(self) {
        let Self { readers, jobs, writers, erasers, recent: _, permits: _ } = self;
        for connection in [readers, writers].into_iter().chain(jobs).chain(erasers) {
            match tokio::time::timeout(CLOSING, connection.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "closing the database failed"),
                Err(_) => tracing::warn!("the database was still in use when the service ended"),
            }
        }
    }
}
