//! Compares a line of an export with what the log says of the same entry.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::grpc::pb::WrittenAuditLog;
use crate::rest::entry::RecordedAs;
use crate::rest::json;

/// The fields in which `exported` differs from `stored`, the entry with the same id, each with both values. `None` if
/// they agree, or if nothing shows that the line is from this log.
///
/// An entry that was imported into a new log has another time and leaf hash there, and often another number, so a
/// difference alone means nothing. But the leaf hash covers the log, the number and the time. A line with the leaf hash
/// of `stored` is therefore from this log, and must have its number and time. A line with both the number and the time
/// is from this log too, and must have the leaf hash: no two logs record an entry under one number in the same
/// microsecond, unless one was forked from the other.
pub(super) fn difference(exported: &RecordedAs, stored: &WrittenAuditLog) -> Option<String> {
    let RecordedAs { sequence, recorded_at, leaf_hash } = exported;
    let fields = [
        ("sequence", sequence.map(|number| number.to_string()), stored.sequence.to_string()),
        ("recordedAt", recorded_at.map(|time| time.to_string()), json::time(stored.recorded_at).unwrap_or_default()),
        ("leafHash", leaf_hash.map(|hash| hash.to_string()), STANDARD.encode(&stored.leaf_hash)),
    ];
    let [number, time, hash] = fields.each_ref().map(|(_, exported, stored)| exported.as_ref() == Some(stored));
    let is_of_this_log = hash || (number && time);
    if !is_of_this_log {
        return None;
    }
    let differing = fields.into_iter().filter_map(|(name, exported, stored)| {
        let exported = exported.filter(|exported| *exported != stored)?;
        Some(format!("{name} is {exported} in the file and {stored} in the log"))
    });
    let differing: Vec<_> = differing.collect();
    (!differing.is_empty()).then(|| differing.join(", "))
}

#[cfg(test)]
mod tests {
    use auditlog_verify::merkle::Hash;

    use super::*;
    use crate::domain::Timestamp;
    use crate::grpc::wire;

    const STORED: (i64, i64, u8) = (7, 1_000_000, 3);

    /// The names of the differing fields of a line with this number, time in microseconds, and leaf hash of equal bytes.
    fn differing(sequence: Option<i64>, recorded_at: Option<i64>, leaf_hash: Option<u8>) -> String {
        let (number, time, hash) = STORED;
        let stored = WrittenAuditLog {
            id: "log_7".to_owned(),
            sequence: number,
            recorded_at: Some(wire::time(Timestamp::saturating(time))),
            replayed: true,
            leaf_hash: vec![hash; 32],
        };
        let exported = RecordedAs {
            sequence,
            recorded_at: recorded_at.map(Timestamp::saturating),
            leaf_hash: leaf_hash.map(|byte| Hash([byte; 32])),
        };
        let text = difference(&exported, &stored).unwrap_or_default();
        let names = text.split(", ").filter_map(|field| field.split_once(" is "));
        names.map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_changed_line_of_this_log_differs() {
        let (number, time, hash) = STORED;
        for (line, names) in [
            ((Some(number), Some(time), Some(hash + 1)), "leafHash"),
            ((Some(number), Some(time + 1), Some(hash)), "recordedAt"),
            ((Some(number + 1), Some(time), Some(hash)), "sequence"),
            ((Some(number + 1), Some(time + 1), Some(hash)), "sequence recordedAt"),
            ((Some(number + 1), None, Some(hash)), "sequence"),
        ] {
            assert_eq!(differing(line.0, line.1, line.2), names, "{line:?}");
        }
    }

    #[test]
    fn an_unchanged_line_and_one_of_another_log_do_not_differ() {
        let (number, time, hash) = STORED;
        for line in [
            (Some(number), Some(time), Some(hash)),
            (Some(number), Some(time), None),
            (None, None, Some(hash)),
            (None, None, None),
            // Another log may have the entry under the same number, or have recorded others at the same time.
            (Some(number), Some(time + 1), Some(hash + 1)),
            (Some(number + 1), Some(time), Some(hash + 1)),
            (Some(number + 1), Some(time + 1), Some(hash + 1)),
            (None, Some(time), Some(hash + 1)),
            (Some(number), None, Some(hash + 1)),
        ] {
            assert_eq!(differing(line.0, line.1, line.2), "", "{line:?}");
        }
    }
}
