//! The faults. Each is a file below, with what it does and which errors it excuses clients to see.
//!
//! To add one: a file, a variant of [`Fault`] with its line for `--help`, and a line in each `match` here. Its function
//! gets a [`Scene`] in which load runs, and does to `scene.services`, `scene.database` or, between clients and services,
//! `scene.load.shared.retarget(…)` what it is about; for each fault `scene.happened()` and `scene.check(&[…])`.

mod kill;

use clap::ValueEnum;

use crate::options::Backend;
use crate::scene::{Scene, Setting};

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// SIGKILL to the service, 20 times.
    Kill,
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
            Self::Kill => true,
        }
    }

    /// What its scene needs.
    pub fn setting(self) -> Setting {
        match self {
            Self::Kill => Setting::default(),
        }
    }

    /// The errors that clients may see.
    pub fn excuses(self) -> &'static [&'static str] {
        match self {
            Self::Kill => &[CONNECTION],
        }
    }

    /// Does it, and checks after each.
    pub async fn run(self, scene: &mut Scene) -> anyhow::Result<()> {
        match self {
            Self::Kill => kill::run(scene).await,
        }
    }
}
