//! The faults. Each is a file below, with what it does and which errors it excuses clients to see.
//!
//! To add one: a file, a variant of [`Fault`] with its line for `--help`, and a line in each `match` here. Its function
//! gets a [`Scene`] in which load runs, and does to `scene.services`, `scene.database` or, between clients and services,
//! `scene.load.shared.retarget(…)` what it is about; for each fault `scene.happened()` and `scene.check(&[…])`.

mod hostile;
mod kill;
mod network;

use std::time::Duration;

use clap::ValueEnum;

use crate::hostile::tools::is_installed;
use crate::hostile::{ATTACKS, TOOLS};
use crate::options::Backend;
use crate::scene::{Scene, Setting};

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// SIGKILL to the service, 20 times.
    Kill,
    /// A proxy that drops, holds back and trickles what clients and the service send.
    Network,
    /// A client that floods, stalls and sends garbage, in some 40 ways.
    Hostile,
    /// h2load: as many requests as it can make. Takes nghttp2-client, and long.
    H2load,
    /// slowhttptest: slow headers, bodies and readers, and ranges. Takes the program, and long.
    Slowhttptest,
}

/// The connection could not be made, or broke.
pub const CONNECTION: &str = "connection";

impl Fault {
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it is one of that database.
    pub fn is_of(self, _backend: Backend) -> bool {
        match self {
            Self::Kill | Self::Network | Self::Hostile | Self::H2load | Self::Slowhttptest => true,
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

    /// What its scene needs.
    pub fn setting(self) -> Setting {
        match self {
            Self::Kill | Self::Network | Self::Hostile | Self::H2load | Self::Slowhttptest => Setting::default(),
        }
    }

    /// The errors that clients may see.
    pub fn excuses(self) -> &'static [&'static str] {
        match self {
            Self::Kill | Self::Network => &[CONNECTION],
            Self::Hostile | Self::H2load | Self::Slowhttptest => &[CONNECTION, "OVERLOADED", "TIMEOUT", "silence"],
        }
    }

    /// Does it, and checks after each.
    pub async fn run(self, scene: &mut Scene) -> anyhow::Result<()> {
        match self {
            Self::Kill => kill::run(scene).await,
            Self::Network => network::run(scene).await,
            Self::Hostile => hostile::run(scene, self, &ATTACKS, Duration::from_millis(500)).await,
            Self::H2load | Self::Slowhttptest => {
                let program = self.name();
                let of_program = TOOLS.iter().filter(|attack| attack.name.starts_with(&program));
                hostile::run(scene, self, of_program, Duration::from_secs(20)).await
            }
        }
    }
}
