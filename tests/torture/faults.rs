//! The faults. Each is a file below, with what it does and which errors it excuses clients to see.
//!
//! To add one: a file, a variant of [`Fault`] with its line for `--help`, and a line in each `match` here. Its function
//! gets a [`Scene`] in which load runs, and does to `scene.services`, `scene.database` or, between clients and services,
//! `scene.load.shared.retarget(…)` what it is about; for each fault `scene.happened()` and `scene.check(&[…])`.

mod clock;
mod connections;
pub mod disk;
mod exhaustion;
mod hostile;
mod kill;
mod locks;
mod network;
mod postgres;
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

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// SIGKILL to the service, 20 times.
    Kill,
    /// SIGTERM to the service: it must answer what it has taken.
    Terminate,
    /// The disk of the database is full for a while.
    Disk,
    /// The service's clock jumps, both ways.
    Clock,
    /// SQLite: another process holds the write lock.
    Busy,
    /// PostgreSQL: its processes are killed, one or all, and it is restarted.
    Postgres,
    /// PostgreSQL: all connections of the service are cut.
    Connections,
    /// PostgreSQL: settings that make statements fail, or commits weaker, come while the service runs.
    Settings,
    /// PostgreSQL: another session holds a head, or a table.
    Locks,
    /// PostgreSQL: another session takes heads in the wrong order.
    Deadlocks,
    /// PostgreSQL: one insert of twenty fails as where transactions cannot be serialized.
    Serialization,
    /// PostgreSQL: two services write to the same organizations, and are killed in turn.
    Replicas,
    /// A proxy that drops, holds back and trickles what clients and the service send.
    Network,
    /// A client that floods, stalls and sends garbage, in some 40 ways.
    Hostile,
    /// Hostile clients without a key take connections, memory, places, reads, look-ups and streams. No honest call fails.
    Exhaustion,
    /// h2load: as many requests as it can make. Takes nghttp2-client, and long.
    H2load,
    /// slowhttptest: slow headers, bodies and readers, and ranges. Takes the program, and long.
    Slowhttptest,
}

/// The connection to the service could not be made, or broke.
pub const CONNECTION: &str = "connection";
/// The database is away, busy or full; also what a service says that ends.
pub const STORAGE: &str = "STORAGE_UNAVAILABLE";
/// The request took longer than it may.
pub const TIMEOUT: &str = "TIMEOUT";
/// The service has enough to do.
pub const OVERLOADED: &str = "OVERLOADED";
/// Or the key does.
pub const RATE_LIMITED: &str = "RATE_LIMITED";

/// The attacks of a program of somebody else.
fn tools(fault: Fault) -> impl Iterator<Item = &'static Attack> {
    TOOLS.iter().filter(move |attack| attack.name.starts_with(&fault.name()))
}

impl Fault {
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it is one of that database.
    pub fn is_of(self, backend: Backend) -> bool {
        match self {
            Self::Kill | Self::Terminate | Self::Disk | Self::Clock => true,
            Self::Network | Self::Hostile | Self::Exhaustion | Self::H2load | Self::Slowhttptest => true,
            Self::Busy => backend == Backend::Sqlite,
            Self::Postgres | Self::Connections | Self::Settings => backend == Backend::Postgres,
            Self::Locks | Self::Deadlocks | Self::Serialization | Self::Replicas => backend == Backend::Postgres,
        }
    }

    /// Whether it is left out where nobody asks for it and no time is given.
    pub fn is_long(self) -> bool {
        matches!(self, Self::H2load | Self::Slowhttptest)
    }

    /// Whether the program that it takes is there.
    pub fn is_possible(self) -> bool {
        !self.is_long() || is_installed(&self.name())
    }

    /// What its scene needs, which has this directory.
    pub fn setting(self, directory: &Path) -> anyhow::Result<Setting> {
        match self {
            Self::Disk => disk::setting(directory),
            Self::Clock => clock::setting(directory),
            Self::Replicas => Ok(Setting { replicas: 2, ..Setting::default() }),
            _ => Ok(Setting::default()),
        }
    }

    /// The errors that clients may see. The contract allows for others; here they would be a surprise.
    pub fn excuses(self) -> &'static [&'static str] {
        match self {
            Self::Kill | Self::Replicas | Self::Network => &[CONNECTION],
            Self::Terminate => &[CONNECTION, STORAGE],
            Self::Disk | Self::Postgres | Self::Settings => &[STORAGE, TIMEOUT],
            Self::Connections => &[STORAGE],
            Self::Busy | Self::Clock | Self::Deadlocks | Self::Locks | Self::Serialization => &[],
            Self::Exhaustion => &[],
            Self::Hostile | Self::H2load | Self::Slowhttptest => &[CONNECTION, OVERLOADED, RATE_LIMITED, TIMEOUT],
        }
    }

    /// Does it, and checks after each time.
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
            Self::Network => network::run(scene).await,
            Self::Hostile => hostile::run(scene, self, &ATTACKS, Duration::from_millis(500)).await,
            Self::Exhaustion => exhaustion::run(scene, self).await,
            Self::H2load => hostile::run(scene, self, tools(self), Duration::from_secs(20)).await,
            Self::Slowhttptest => {
                // Longer than the half minute after which slow peers are shed.
                hostile::run(scene, self, tools(self), Duration::from_secs(45)).await?;
                let shed = scene.services[0].most(r#"auditlog_refusals_total{reason="stalled"}"#);
                ensure!(shed.is_some_and(|shed| shed > 0.0), "no slow peer was shed");
                Ok(())
            }
        }
    }
}
