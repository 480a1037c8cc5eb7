//! The state file: the data of a verified log that `auditlog verify` keeps until its next run.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;
use crate::files;
use auditlog_verify::log::{Trust, VerifiedPrefix};
use auditlog_verify::merkle::{Checkpoint, CompactRange, VerifierKey};

/// The JSON of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StateContent {
    /// The signed note with origin, size and root.
    checkpoint: String,
    /// The trusted keys, oldest first.
    keys: Vec<String>,
    /// Keys that were trusted before. They have signed records of erasures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    former_keys: Vec<String>,
    /// The compact range of that tree, in base64.
    edge: String,
    /// The time at which its last entry was recorded.
    recorded_at: String,
}

/// The last verified state of a log.
pub(super) struct State {
    pub(super) trust: Trust,
    pub(super) note: String,
    pub(super) checkpoint: Checkpoint,
    pub(super) remembered: VerifiedPrefix,
}

impl State {
    /// Reads the file at `path`; `None` if there is none yet. Errors: it cannot be read, or is not valid.
    pub(super) fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let name = path.display();
        let text = match files::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
        };
        Self::parse(&text).map(Some).with_context(|| {
            format!("{name} is not a valid state file; remove it only if you know why, because the remembered state is lost with it")
        })
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let StateContent { checkpoint: note, keys, former_keys, edge, recorded_at } = serde_json::from_str(text)?;
        let parsed = |keys: &[String]| keys.iter().map(|key| VerifierKey::parse(key)).collect::<Result<Vec<_>, _>>();
        let trust = Trust::new(parsed(&keys)?)?.with_former(parsed(&former_keys)?)?;
        let checkpoint = trust.open(&note)?;
        let edge = CompactRange::parse(checkpoint.size, &STANDARD.decode(&edge)?)?;
        if edge.root() != checkpoint.root {
            bail!("its edge does not match the root of its checkpoint");
        }
        let recorded_at = Timestamp::parse(&recorded_at)?;
        Ok(Self { trust, note, checkpoint, remembered: VerifiedPrefix { edge, recorded_at } })
    }

    /// Replaces the file atomically.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let Self { trust, note, checkpoint: _, remembered: VerifiedPrefix { edge, recorded_at } } = self;
        let written = StateContent {
            checkpoint: note.clone(),
            keys: trust.keys().iter().map(VerifierKey::text).collect(),
            former_keys: trust.former().iter().map(VerifierKey::text).collect(),
            edge: STANDARD.encode(edge.bytes()),
            recorded_at: recorded_at.exact(),
        };
        let text = serde_json::to_string_pretty(&written)? + "\n";
        files::replace(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }
}
