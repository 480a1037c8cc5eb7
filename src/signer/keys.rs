//! The file of the signing keys: one key per line, the newest first. Only its owner may read it.
//!
//! ```text
//! # A comment.
//! ed25519 SEED
//! ed25519 SEED until 2025-01-27T10:30:00Z
//! ```
//!
//! A seed is the 32 secret bytes of a key in base64. The key without an end is the main key. A key with an end also
//! signs until then. Another algorithm will have another first word.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::files::Lock;
use super::memory::StateFile;
use crate::domain::{Random, Timestamp};
use crate::files;
use crate::store::LogKey;
use auditlog_verify::merkle::{PublicKey, SigningKey};

const ED25519: &str = "ed25519";
const UNTIL: &str = "until";
const HEAD: &str = "# Keys that sign checkpoints of auditlog, secret: the first signs, those with an end sign along until \
                    then.\n# docs/signing.md tells more.\n";

/// A key of the file. It has no `Debug`, so that no log can show it.
pub struct CheckpointKey {
    seed: [u8; 32],
    key: SigningKey,
    /// When the key stops signing; `None` for the main key.
    until: Option<Timestamp>,
}

/// The keys of a file.
pub struct CheckpointKeys {
    main: CheckpointKey,
    /// Old keys: some still sign, some have ended.
    others: Vec<CheckpointKey>,
}

impl CheckpointKey {
    fn new(seed: [u8; 32], until: Option<Timestamp>) -> anyhow::Result<Self> {
        Ok(Self { seed, key: SigningKey::from_seed(&seed)?, until })
    }

    /// The key that signs, with its secret.
    pub fn signing(&self) -> &SigningKey {
        &self.key
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// When the key stops signing; `None` for the main key.
    pub fn until(&self) -> Option<Timestamp> {
        self.until
    }

    fn line(&self) -> String {
        let seed = STANDARD.encode(self.seed);
        self.until.map_or_else(|| format!("{ED25519} {seed}\n"), |until| format!("{ED25519} {seed} {UNTIL} {until}\n"))
    }

    /// Parses a line. Errors never quote it.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split_whitespace().collect();
        let (seed, until) = match words[..] {
            [ED25519, seed] => (seed, None),
            [ED25519, seed, UNTIL, until] => (seed, Some(Timestamp::parse(until).ok()?)),
            _ => return None,
        };
        Self::new(STANDARD.decode(seed).ok()?.try_into().ok()?, until).ok()
    }
}

impl CheckpointKeys {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let at = path.display();
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                anyhow!("there is no signing key {at}; `auditlog signing-key create --signing-key {at}` makes one")
            }
            _ => anyhow!("cannot read the signing key {at}: {error}"),
        })?;
        let mut keys = Vec::new();
        for (place, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            // The line is not quoted: it may be a key or a part of one.
            let malformed =
                || anyhow!("{at}: line {} must be `{ED25519} SEED` or `{ED25519} SEED {UNTIL} TIME`", place + 1);
            keys.push(CheckpointKey::parse(line).ok_or_else(malformed)?);
        }
        let (mut main, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.until.is_none());
        match (main.pop(), main.is_empty()) {
            (Some(main), true) => Ok(Self { main, others }),
            (main, _) => {
                let found = if main.is_none() { "none" } else { "several" };
                bail!("{at} must have one key without `{UNTIL}`, the one that signs, got {found}")
            }
        }
    }

    /// Creates a key and its file, which nobody else can read, and the state file beside it. Errors: the file exists;
    /// the process is root, and the directory belongs to another user.
    pub fn create(path: &Path, random: &Random) -> anyhow::Result<Self> {
        let keys = Self { main: CheckpointKey::new(random.bytes(), None)?, others: Vec::new() };
        let at = path.display();
        files::check_owner(path, &format!("signing-key create --signing-key {at}"))?;
        files::create(path, keys.text().as_bytes()).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => anyhow!("{at} already exists; a key is never overwritten"),
            _ => anyhow!("cannot create {at}: {error}"),
        })?;
        if let Err(error) = StateFile::of(path).create() {
            // It was created a moment ago, and nothing is signed with it.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(keys)
    }

    /// Adds a new main key to the file at `path`. The old main key also signs for `overlap`. Keys whose time has ended
    /// are removed. Errors: `path` is a symbolic link; the process is root, and the file or its directory belongs to
    /// another user; the file cannot be read or written.
    pub fn rotate(path: &Path, random: &Random, now: Timestamp, overlap: Duration) -> anyhow::Result<Self> {
        let at = path.display();
        files::check_owner(path, &format!("signing-key rotate --signing-key {at} …"))?;
        // Fails early, so that no lock file is created for a missing key file.
        Self::load(path)?;
        // A new file in place of the link would not change the file that other processes read.
        ensure!(!path.is_symlink(), "{at} is a symbolic link; name the file itself");
        let _lock = Lock::of(path)?;
        let Self { main, others } = Self::load(path)?;
        let micros = i64::try_from(overlap.as_micros()).ok();
        let until = micros.map(|micros| now.plus(micros)).filter(|until| *until < Timestamp::END);
        let until = until.context("the overlap must end before the year 10000")?;
        let mut kept = vec![CheckpointKey { until: Some(until), ..main }];
        kept.extend(others.into_iter().filter(|key| key.until.is_some_and(|until| until > now)));
        let keys = Self { main: CheckpointKey::new(random.bytes(), None)?, others: kept };
        files::replace(path, keys.text().as_bytes()).with_context(|| format!("cannot write {at}"))?;
        Ok(keys)
    }

    fn text(&self) -> String {
        HEAD.to_owned() + &self.all().map(CheckpointKey::line).collect::<String>()
    }

    /// The main key, which signs without an end.
    pub fn main(&self) -> &CheckpointKey {
        &self.main
    }

    /// All keys, including those that have ended. The main key comes first.
    pub fn all(&self) -> impl Iterator<Item = &CheckpointKey> {
        std::iter::once(&self.main).chain(&self.others)
    }

    /// The keys that are in `known`, including those that have ended. If `known` is empty, the keys that sign at `now`.
    pub fn into_known(self, known: &[LogKey], now: Timestamp) -> Vec<SigningKey> {
        let Self { main, others } = self;
        let is_active = |key: &CheckpointKey| key.until.is_none_or(|until| until > now);
        let is_known = |key: &CheckpointKey| known.iter().any(|one| one.public == key.public());
        let all = std::iter::once(main).chain(others);
        all.filter(|key| if known.is_empty() { is_active(key) } else { is_known(key) }).map(|key| key.key).collect()
    }

    /// The keys that sign at `now`.
    pub fn active(&self, now: Timestamp) -> impl Iterator<Item = &CheckpointKey> {
        self.all().filter(move |key| key.until.is_none_or(|until| until > now))
    }
}

/// Whether users other than the owner can read or write the file.
pub(super) fn is_exposed(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}
