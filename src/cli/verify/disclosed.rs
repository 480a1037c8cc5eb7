//! Converts entries of the gRPC contract to entries for the verifier.

use crate::domain::{Invalid, Timestamp};
use crate::grpc::pb::{self, log_entry_group::Disclosed};
use auditlog_verify::log::{DisclosedEntry, DisclosedGroup};
use auditlog_verify::merkle::{GroupHash, Hash, SaltedFields};

/// Converts an entry. Errors: it has a value that no entry can have.
pub(in crate::cli) fn disclosed_entry(entry: pb::LogEntry) -> Result<DisclosedEntry, Invalid> {
    let pb::LogEntry { sequence, id, recorded_at, writer_key_id, leaf_hash, facts, actor, content } = entry;
    Ok(DisclosedEntry {
        seq: sequence,
        id,
        recorded_at: time(recorded_at)?,
        writer: writer_key_id,
        leaf: Hash::of_bytes(&leaf_hash)?,
        groups: [group(facts)?, group(actor)?, group(content)?],
    })
}

fn group(group: Option<pb::LogEntryGroup>) -> Result<DisclosedGroup, Invalid> {
    match group.and_then(|pb::LogEntryGroup { disclosed }| disclosed) {
        Some(Disclosed::Values(pb::SaltedFields { salt, fields })) => {
            let salt = salt.try_into().map_err(|salt: Vec<u8>| Invalid::new("a salt must be 16 bytes", salt.len()))?;
            let fields = fields.into_iter().map(|pb::HashedField { name, value }| (name, value)).collect();
            Ok(DisclosedGroup::Fields(SaltedFields { salt, fields }))
        }
        Some(Disclosed::Hash(hash)) => Ok(DisclosedGroup::Hash(GroupHash(Hash::of_bytes(&hash)?))),
        None => Ok(DisclosedGroup::Nothing),
    }
}

fn time(time: Option<prost_types::Timestamp>) -> Result<Timestamp, Invalid> {
    let prost_types::Timestamp { seconds, nanos } = time.ok_or_else(|| Invalid("a time is missing".to_owned()))?;
    let time = Timestamp::from_parts(seconds, nanos)?;
    match time.parts() == (seconds, nanos) {
        true => Ok(time),
        false => Err(Invalid::new("a time must be in microseconds", format_args!("{nanos} nanoseconds"))),
    }
}
