//! The faults. Each submodule injects a fault; this file lists the client errors that each fault may cause.
//!
//! To add a fault, add a file, a variant of [`Fault`] with a doc comment for `--help`, and an arm in each `match` here.
//! The function gets a [`Scene`] whose load is running. It acts on `scene.services` or `scene.database`, or puts a
//! proxy between clients and service with `scene.load.shared.retarget(…)`. After each fault it calls `scene.happened()`
//! and `scene.check(&[…])`.

mod clock;
mod connections;
pub mod disk;
mod exhaustion;
mod followers;
mod hostile;
mod kill;
mod locks;
mod network;
mod postgres;
mod queue;
mod replicas;
mod terminate;

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use clap::ValueEnum;

use crate::hostile::tools::is_installed;
use crate::hostile::{ATTACKS, Attack, TOOLS};
use crate::options::Backend;
use crate::scene::{Scene, Setting};

/// A fault to inject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Sends SIGKILL to the service, 20 times.
    Kill,
    /// Sends SIGTERM to the service, which must answer the requests that it has accepted.
    Terminate,
    /// Fills the disk of the database for a while.
    Disk,
    /// Makes the service's clock jump forwards and backwards.
    Clock,
    /// SQLite: another process holds the write lock.
    Busy,
    /// PostgreSQL: kills one or all of its processes, or restarts it.
    Postgres,
    /// PostgreSQL: cuts all connections of the service.
    Connections,
    /// PostgreSQL: changes settings at run time so that statements fail or commits are less durable.
    Settings,
    /// PostgreSQL: another session locks a head or a table.
    Locks,
    /// PostgreSQL: another session locks heads that a group of the service needs in another order.
    Deadlocks,
    /// PostgreSQL: one insert in twenty fails with a serialization failure.
    Serialization,
    /// PostgreSQL: two services write to the same organizations; each is killed in turn.
    Replicas,
    /// Kills followers, the service and PostgreSQL in turn. Each follower must receive what an export has.
    Followers,
    /// Writes queue up behind a lock. They must keep their order, and organizations must take turns.
    Queue,
    /// A proxy drops, delays and trickles the bytes between clients and service.
    Network,
    /// A client floods, stalls and sends garbage in about 40 ways.
    Hostile,
    /// Clients without a key, or with a key of another organization, exhaust connections, memory, permits, reads,
    /// lookups and streams. No honest call may fail.
    Exhaustion,
    /// h2load: as many requests as possible. Needs nghttp2-client; slow.
    H2load,
    /// slowhttptest: slow headers, bodies and readers, and ranges. Needs slowhttptest; slow.
    Slowhttptest,
}

/// The client could not connect, or the connection broke.
pub const CONNECTION: &str = "connection";
/// The database is unavailable, busy or full. A service that shuts down returns this code too.
pub const STORAGE: &str = "STORAGE_UNAVAILABLE";
/// The request exceeded its deadline.
pub const TIMEOUT: &str = "TIMEOUT";
/// The service has reached a limit.
pub const OVERLOADED: &str = "OVERLOADED";
/// The key has exceeded its rate limit.
pub const RATE_LIMITED: &str = "RATE_LIMITED";

/// The attacks of an external tool.
fn tools(fault: Fault) -> impl Iterator<Item = &'static Attack> {
    TOOLS.iter().filter(move |attack| attack.name.starts_with(&fault.name()))
}

impl Fault {
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether the fault applies to `backend`.
    pub fn is_of(self, backend: Backend) -> bool {
        match self {
            Self::Kill | Self::Terminate | Self::Disk | Self::Clock | Self::Queue | Self::Followers => true,
            Self::Network | Self::Hostile | Self::Exhaustion | Self::H2load | Self::Slowhttptest => true,
            Self::Busy => backend == Backend::Sqlite,
            Self::Postgres | Self::Connections | Self::Settings => backend == Backend::Postgres,
            Self::Locks | Self::Deadlocks | Self::Serialization | Self::Replicas => backend == Backend::Postgres,
        }
    }

    /// Whether the fault is slow: without `--only` or `--minutes` it is skipped.
    pub fn is_long(self) -> bool {
        matches!(self, Self::H2load | Self::Slowhttptest)
    }

    /// Whether the external tool of this fault, if any, is installed.
    pub fn is_possible(self) -> bool {
        !self.is_long() || is_installed(&self.name())
    }

    /// The scene settings of this fault on `backend`. `directory` is the scene's directory.
    pub fn setting(self, backend: Backend, directory: &Path) -> anyhow::Result<Setting> {
        match self {
            Self::Disk => disk::setting(directory),
            Self::Clock => clock::setting(directory),
            Self::Replicas | Self::Followers if backend == Backend::Postgres => {
                Ok(Setting { replicas: 2, ..Setting::default() })
            }
            _ => Ok(Setting::default()),
        }
    }

    /// The errors that clients may see. The API contract allows others, but they would be a surprise here.
    pub fn excuses(self) -> &'static [&'static str] {
        match self {
            Self::Kill | Self::Replicas | Self::Network => &[CONNECTION],
            Self::Terminate => &[CONNECTION, STORAGE],
            Self::Disk | Self::Postgres | Self::Settings => &[STORAGE, TIMEOUT],
            Self::Followers => &[CONNECTION, STORAGE, TIMEOUT],
            Self::Connections => &[STORAGE],
            Self::Busy | Self::Clock | Self::Deadlocks | Self::Locks | Self::Serialization => &[],
            Self::Exhaustion | Self::Queue => &[],
            Self::Hostile | Self::H2load | Self::Slowhttptest => &[CONNECTION, OVERLOADED, RATE_LIMITED, TIMEOUT],
        }
    }

    /// Injects the fault and checks after each injection.
    pub async fn run(self, scene: &mut Scene) -> anyhow::Result<()> {
        match self {
            Self::Kill => kill::run(scene).await,
            Self::Terminate => terminate::run(scene).await,
            Self::Disk => disk::run(scene).await,
            Self::Clock => clock::run(scene).await,
            Self::Busy => locks::busy(scene).await,
            Self::Postgres => postgres::run(scene).await,
            Self::Connections => connections::cut(scene).await,
            Self::Settings => connections::settings(scene).await,
            Self::Locks => locks::held(scene).await,
            Self::Deadlocks => locks::deadlocks(scene).await,
            Self::Serialization => connections::serialization(scene).await,
            Self::Replicas => replicas::run(scene).await,
            Self::Followers => followers::run(scene).await,
            Self::Queue => queue::run(scene).await,
            Self::Network => network::run(scene).await,
            Self::Hostile => hostile::run(scene, self, &ATTACKS, Duration::from_millis(500)).await,
            Self::Exhaustion => exhaustion::run(scene, self).await,
            Self::H2load => hostile::run(scene, self, tools(self), Duration::from_secs(20)).await,
            Self::Slowhttptest => {
                // Longer than the 30 seconds after which the service closes slow connections.
                hostile::run(scene, self, tools(self), Duration::from_secs(45)).await?;
                let shed = scene.services[0].most(r#"auditlog_refusals_total{reason="stalled"}"#);
                ensure!(shed.is_some_and(|shed| shed > 0.0), "no slow peer was shed");
                Ok(())
            }
        }
    }
}
