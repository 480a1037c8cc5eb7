//! Key files that sign checkpoints.

use std::path::{Path, PathBuf};

use auditlog::domain::Random;
use auditlog::signer::{CheckpointKeys, Signing};

use super::Database;
use super::log::LOG_NAME;

/// Creates a key file in the directory of `database`.
pub fn new_key(database: &Database, name: &str) -> PathBuf {
    let path = database.directory.path().join(name);
    CheckpointKeys::create(&path, &Random::system()).expect("a key");
    path
}

pub fn signing(key_file: &Path) -> Signing {
    Signing { key_file: key_file.to_owned(), log_name: LOG_NAME.parse().expect("a name") }
}
