//! The database: the only module that names sea-orm. Reads use a [`Snapshot`] and writes an [`Append`]; both show where
//! they begin and end.

mod admin;
mod connect;
mod connections;
mod counts;
mod dialect;
mod entities;
mod entries;
mod errors;
mod files;
mod kinds;
mod log;
mod model;
mod permits;
mod piece;
mod postgres;
mod read_scheduler;
mod rows;
mod server;
mod sql;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};

use crate::domain::Secret;
use crate::error::{Error, Result};
use crate::metrics::Pool;
use connect::Missing;
use connections::Connections;
use counts::recent::Recent;
use entries::follow::FollowedHeads;
use permits::ReadPermits;

pub use admin::catalogue::{Addition, Removal};
pub use admin::keys::ApiKey;
pub use admin::organizations::Organization;
pub use admin::schema::schema_version;
pub use admin::secrets::{CURSOR_KEY_BYTES, CURSOR_KEY_ID};
pub use counts::transaction::CountTransaction;
pub use entries::append::{Append, CommitFailed, Head};
pub use entries::erase::{ErasedGroupHash, ErasureCount};
pub use entries::follow::FollowedHead;
pub use entries::groups::TopScan;
pub use entries::list::{PageRequest, ScanRange, Snapshot};
pub use log::checkpoints::LogStatus;
pub use log::tiles::{LogHead, LogKey, SignedCheckpoint};
pub use model::{
    CountState, CountUncounted, EntryNames, HashedEntry, KeyCounts, KeyState, KeyTotal, Lag, LevelPosition,
    RunningCount, UncountedEntry,
};
pub use permits::ReadPermit;
pub use piece::PieceSize;
pub use sql::IndexScan;

/// How long to wait for a connection, and for SQLite's lock.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection in use may delay the shutdown.
const CLOSING: Duration = Duration::from_secs(1);

/// How long the database may take to answer a ping. Longer than a pool waits for a connection.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A database with the schema of this version.
#[derive(Clone)]
pub struct Store {
    /// Many connections, on either database.
    readers: Connections,
    /// Connections for background jobs, if the readers' statements have a time limit.
    jobs: Option<Connections>,
    /// One connection on SQLite, which allows one writer; a few on PostgreSQL.
    writers: Connections,
    /// Connections for committers, so that no other write delays them; `None` on SQLite, which has one for all.
    committers: Option<Connections>,
    /// Connections of a separate role, if the writers' role may not erase.
    erasers: Option<Connections>,
    /// The last appended entries, for the job that counts them.
    recent: Arc<Recent>,
    /// The heads of the logs that are followed.
    followed: Arc<FollowedHeads>,
    /// The permits of reads.
    permits: ReadPermits,
}

impl Store {
    /// Connects to `url`, `sqlite://path` or `postgres://…`, with at most `connections` connections for reads. Errors:
    /// also a database without durable commits. Does not touch the schema.
    pub async fn connect(url: &Secret, connections: u32) -> anyhow::Result<Self> {
        Self::connect_to(url, connections, Missing::Create).await
    }

    async fn connect_to(url: &Secret, connections: u32, missing: Missing) -> anyhow::Result<Self> {
        let opened = connect::connect(url.expose(), connections, missing).await?;
        let connect::Opened { readers, writers, committers } = opened;
        // Keys, organizations and names are looked up without a permit, so that writers need not wait for reads. One
        // connection is left for them.
        let permits = ReadPermits::new(connections.saturating_sub(1).max(1));
        let (recent, followed) = (Arc::default(), Arc::default());
        Ok(Self { readers, jobs: None, writers, committers, erasers: None, recent, followed, permits })
    }

    /// Connects, brings the schema up to date, and checks it. An up-to-date schema is only read, which needs no special
    /// rights.
    pub async fn open(url: &Secret, connections: u32) -> anyhow::Result<Self> {
        let store = Self::connect(url, connections).await?;
        if store.lacks_steps().await? {
            store.migrate().await?;
        } else {
            store.check().await?;
        }
        Ok(store)
    }

    /// Connects to an existing database with the schema of this version. Creates nothing.
    pub async fn open_existing(url: &Secret, connections: u32) -> anyhow::Result<Self> {
        let store = Self::connect_to(url, connections, Missing::Refuse).await?;
        store.check().await?;
        Ok(store)
    }

    /// Uses connections to `url` for erasures: the same PostgreSQL database, with a role that may erase.
    pub async fn erasing_by(self, url: &Secret) -> anyhow::Result<Self> {
        let store = Self { erasers: Some(connect::connect_eraser(url.expose()).await?), ..self };
        if !store.may_erase().await? {
            bail!("the role of the database URL to erase by has no right to change the columns that are erased");
        }
        Ok(store)
    }

    /// Uses separate connections for requests' reads. Their statements end after `limit`.
    pub async fn limiting_reads(self, url: &Secret, connections: u32, limit: Duration) -> anyhow::Result<Self> {
        let limited = connect::connect_readers(url.expose(), connections, limit, &self.readers.origin).await?;
        Ok(Self { jobs: Some(self.readers), readers: limited, ..self })
    }

    /// The same store for background jobs, whose reads have no time limit.
    #[must_use]
    pub fn for_jobs(&self) -> Self {
        Self { readers: self.jobs.as_ref().unwrap_or(&self.readers).clone(), ..self.clone() }
    }

    /// Checks that the database answers and is the one that was opened. Errors: `StorageUnavailable`.
    pub async fn ping(&self) -> Result<()> {
        match tokio::time::timeout(PING_TIMEOUT, self.readers.ping()).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Error::StorageUnavailable(anyhow!("no answer within {} s", PING_TIMEOUT.as_secs()))),
        }
    }

    /// Checks that a connection of each pool for writes can be opened, which happens with its first use. Errors: the reason.
    pub async fn check_writers(&self) -> anyhow::Result<()> {
        for connection in std::iter::once(&self.writers).chain(&self.committers) {
            connection.ping().await.map_err(|error| errors::cause(error).context("cannot connect for writes"))?;
        }
        Ok(())
    }

    fn erasers(&self) -> &Connections {
        self.erasers.as_ref().unwrap_or(&self.writers)
    }

    /// The state of its connection pools.
    pub fn pools(&self) -> Vec<Pool> {
        let pools = [
            ("readers", Some(&self.readers)),
            ("jobs", self.jobs.as_ref()),
            ("writers", Some(&self.writers)),
            ("committers", self.committers.as_ref()),
            ("erasers", self.erasers.as_ref()),
        ];
        pools.into_iter().filter_map(|(name, connection)| Some(connect::pool(name, connection?))).collect()
    }

    /// Begins to read. The results of one call are from one moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::any(self.readers.clone())
    }

    /// Begins to read. All results of the snapshot are from one moment.
    pub async fn held_snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot::held(self.readers.begin().await?))
    }

    /// How many transactions of [`Self::for_committers`] can append at once.
    pub fn committer_count(&self) -> usize {
        if self.committers.is_some() { connect::COMMITTERS as usize } else { 1 }
    }

    /// The same store for committers.
    #[must_use]
    pub fn for_committers(&self) -> Self {
        Self { writers: self.committers.as_ref().unwrap_or(&self.writers).clone(), ..self.clone() }
    }

    /// Begins to append. Others see nothing before [`Append::commit`].
    pub async fn append(&self) -> Result<Append> {
        self.begin(&self.writers).await
    }

    async fn begin(&self, connections: &Connections) -> Result<Append> {
        let transaction = connections.begin().await?;
        let (origin, recent) = (Arc::clone(&connections.origin), Arc::clone(&self.recent));
        Ok(Append::new(transaction, origin, recent, Arc::clone(&self.followed)))
    }

    /// Closes the connections, so that SQLite copies its write-ahead log into the file. A connection that stays in use
    /// is left to the end of the process.
    pub async fn close(self) {
        let Self { readers, jobs, writers, committers, erasers, recent: _, followed: _, permits: _ } = self;
        for connection in [readers, writers].into_iter().chain(committers).chain(jobs).chain(erasers) {
            match tokio::time::timeout(CLOSING, connection.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "closing the database failed"),
                Err(_) => tracing::warn!("the database was still in use when the service ended"),
            }
        }
    }
}
