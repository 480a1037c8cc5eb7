//! The file of the keys that sign: one a line, the last one made first. Only its owner may read it.
//!
//! ```text
//! # A comment.
//! ed25519 SEED
//! ed25519 SEED until 2025-01-27T10:30:00Z
//! ```
//!
//! A seed is the 32 secret bytes of a key in base64. The key without an end is the one that signs; those with one sign
//! along until then. Another algorithm will be another first word.

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

/// A key of the file. Has no `Debug`.
pub struct Key {
    seed: [u8; 32],
    key: SigningKey,
    /// When it ends; `None` for the key that signs.
    until: Option<Timestamp>,
}

/// The keys of a file.
pub struct Keys {
    main: Key,
    /// Those that sign along, and those that have ended.
    others: Vec<Key>,
}

impl Key {
    fn new(seed: [u8; 32], until: Option<Timestamp>) -> anyhow::Result<Self> {
        Ok(Self { seed, key: SigningKey::from_seed(&seed)?, until })
    }

    /// A signing key.
    pub fn signing(&self) -> &SigningKey {
        &self.key
    }

    /// Its public part.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// When it ends; `None` for the key that signs.
    pub fn until(&self) -> Option<Timestamp> {
        self.until
    }

    fn line(&self) -> String {
        let seed = STANDARD.encode(self.seed);
        self.until.map_or_else(|| format!("{ED25519} {seed}\n"), |until| format!("{ED25519} {seed} {UNTIL} {until}\n"))
    }

    /// The content of a line. It is never part of an error.
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

impl Keys {
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
            // Not what it is: it may be a key, or a part of one.
            let malformed =
                || anyhow!("{at}: line {} must be `{ED25519} SEED` or `{ED25519} SEED {UNTIL} TIME`", place + 1);
            keys.push(Key::parse(line).ok_or_else(malformed)?);
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

    /// Makes a key and its file, which nobody else can read, and beside it the one that remembers what was signed.
    /// Errors: there is such a file; this is root, and the directory is of another user.
    pub fn create(path: &Path, random: &Random) -> anyhow::Result<Self> {
        let keys = Self { main: Key::new(random.bytes(), None)?, others: Vec::new() };
        let at = path.display();
        files::check_owner(path, &format!("signing-key create --signing-key {at}"))?;
        files::create(path, keys.text().as_bytes()).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => anyhow!("{at} is there already; a key is never overwritten"),
            _ => anyhow!("cannot create {at}: {error}"),
        })?;
        if let Err(error) = StateFile::of(path).create() {
            // It was made a moment ago, and nothing is signed with it.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(keys)
    }

    /// Adds a key to the file at `path`, which signs from now on; the one before signs along for `overlap`. Those whose
    /// time has ended are taken out. Errors: among others, `path` is a link; this is root, and the file or its directory
    /// is of another user.
    pub fn rotate(path: &Path, random: &Random, now: Timestamp, overlap: Duration) -> anyhow::Result<Self> {
        let at = path.display();
        files::check_owner(path, &format!("signing-key rotate --signing-key {at} …"))?;
        // Where there is none, none is locked.
        Self::load(path)?;
        // A file in place of the link would leave the keys that others read as they are.
        ensure!(!path.is_symlink(), "{at} is a symbolic link; name the file itself");
        let _lock = Lock::of(path)?;
        let Self { main, others } = Self::load(path)?;
        let micros = i64::try_from(overlap.as_micros()).ok();
        let until = micros.map(|micros| now.plus(micros)).filter(|until| *until < Timestamp::END);
        let until = until.context("the overlap must end before the year 10000")?;
        let mut kept = vec![Key { until: Some(until), ..main }];
        kept.extend(others.into_iter().filter(|key| key.until.is_some_and(|until| until > now)));
        let keys = Self { main: Key::new(random.bytes(), None)?, others: kept };
        files::replace(path, keys.text().as_bytes()).with_context(|| format!("cannot write {at}"))?;
        Ok(keys)
    }

    fn text(&self) -> String {
        HEAD.to_owned() + &self.all().map(Key::line).collect::<String>()
    }

    /// The key that signs.
    pub fn main(&self) -> &Key {
        &self.main
    }

    /// All keys, also those that have ended, the one that signs first.
    pub fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.main).chain(&self.others)
    }

    /// The keys of `known`, also those that have ended; where that has none, those that sign at this time.
    pub fn into_known(self, known: &[LogKey], now: Timestamp) -> Vec<SigningKey> {
        let Self { main, others } = self;
        let is_active = |key: &Key| key.until.is_none_or(|until| until > now);
        let is_known = |key: &Key| known.iter().any(|one| one.public == key.public());
        let all = std::iter::once(main).chain(others);
        all.filter(|key| if known.is_empty() { is_active(key) } else { is_known(key) }).map(|key| key.key).collect()
    }

    /// Those that sign at this time.
    pub fn active(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        self.all().filter(move |key| key.until.is_none_or(|until| until > now))
    }
}

/// Whether others than the owner can read or write the file.
pub(super) fn is_exposed(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}
