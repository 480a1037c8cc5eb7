//! Parses the dates in queries into the time spans that they cover.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use super::{Invalid, Timestamp, quoted};

/// Microseconds per day.
const DAY: i64 = 86_400_000_000;

/// The first instant that `text` covers: an RFC 3339 date-time, a date-time without an offset (taken as UTC), or a date
/// (a day in UTC). A `+` that arrived as a space is accepted.
pub fn start_of_span(text: &str) -> Result<Timestamp, Invalid> {
    span(text).map(|(start, _)| start)
}

/// The first instant after the span of `text`. The span depends on the precision of the text: `2025-01-31` covers that
/// day, `…T23:59:59Z` that second.
pub fn end_of_span(text: &str) -> Result<Timestamp, Invalid> {
    span(text).map(|(start, length)| start.plus(length))
}

/// The last instant of the span of `text`, to the microsecond: the time of a state as of a written date.
pub fn last_of_span(text: &str) -> Result<Timestamp, Invalid> {
    end_of_span(text).map(|end| end.plus(-1))
}

/// The first instant of the span of `text`, and its length in microseconds, at least one.
fn span(text: &str) -> Result<(Timestamp, i64), Invalid> {
    let allowed = "must be an RFC 3339 date-time such as 2025-01-31T23:59:59Z, or a date such as 2025-01-31";
    let refuse = || Invalid::new(allowed, quoted(text));
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(refuse());
    }
    if let Ok(date) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        let start = instant(date.midnight().assume_utc()).ok_or_else(refuse)?;
        return Ok((start, DAY));
    }
    let text = restore_plus(text);
    let written = OffsetDateTime::parse(&text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339))
        .map_err(|_| refuse())?;
    let digits = text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    let length = (digits..6).fold(1, |length, _| length * 10);
    let written = instant(written).ok_or_else(refuse)?;
    // A leap second parses to the last nanosecond before it, so go back to the start of the span.
    Ok((written.plus(-written.micros().rem_euclid(length)), length))
}

/// A server sees `…T10:00:00 02:00` when a client did not encode the `+` of `…T10:00:00+02:00` in a query.
fn restore_plus(text: &str) -> String {
    match text.len().checked_sub("+02:00".len()).and_then(|place| text.split_at_checked(place)) {
        Some((time, offset)) if time.contains(['T', 't']) && offset.starts_with(' ') => {
            format!("{time}+{}", &offset[1..])
        }
        _ => text.to_owned(),
    }
}

fn instant(time: OffsetDateTime) -> Option<Timestamp> {
    Timestamp::from_parts(time.unix_timestamp(), i32::try_from(time.nanosecond()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(text: &str) -> String {
        let start = start_of_span(text).expect("a date");
        format!("{start} to {}", end_of_span(text).expect("a date"))
    }

    #[test]
    fn a_date_covers_the_range_of_its_precision() {
        for (text, span) in [
            ("2025-01-31", "2025-01-31T00:00:00Z to 2025-02-01T00:00:00Z"),
            ("2025-01-31T23:59:59Z", "2025-01-31T23:59:59Z to 2025-02-01T00:00:00Z"),
            ("2025-01-31T23:59:59", "2025-01-31T23:59:59Z to 2025-02-01T00:00:00Z"),
            ("2025-01-31T23:59:59.5Z", "2025-01-31T23:59:59.500000Z to 2025-01-31T23:59:59.600000Z"),
            ("2025-01-31T23:59:59.123456Z", "2025-01-31T23:59:59.123456Z to 2025-01-31T23:59:59.123457Z"),
            ("2025-01-31T23:59:59.1234569Z", "2025-01-31T23:59:59.123456Z to 2025-01-31T23:59:59.123457Z"),
            ("2025-01-31T23:59:59+02:00", "2025-01-31T21:59:59Z to 2025-01-31T22:00:00Z"),
            ("2025-01-31T23:59:59 02:00", "2025-01-31T21:59:59Z to 2025-01-31T22:00:00Z"),
            ("2025-01-31T23:59:59.25-02:00", "2025-02-01T01:59:59.250000Z to 2025-02-01T01:59:59.260000Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z to 2017-01-01T00:00:00Z"),
            ("1969-12-31T23:59:59.9Z", "1969-12-31T23:59:59.900000Z to 1970-01-01T00:00:00Z"),
            ("0001-01-01", "0001-01-01T00:00:00Z to 0001-01-02T00:00:00Z"),
            ("9999-12-31", "9999-12-31T00:00:00Z to 10000-01-01T00:00:00Z"),
        ] {
            assert_eq!(covered(text), span, "{text}");
        }
    }

    #[test]
    fn an_invalid_date_is_refused() {
        for text in [
            "",
            "today",
            "2025",
            "2025-01",
            "2025-1-1",
            "2025-02-30",
            "2025-13-01",
            "0000-01-01",
            "-001-01-01",
            "+2025-01-01",
            "20250101",
            "2025-01-31T",
            "2025-01-31T25:00:00Z",
            "2025-01-31T23:59",
            "2025-01-31T23:59:59.Z",
            "2025-01-31T23:59:59ZZ",
            "2025-01-31 ",
            "10000-01-01",
            "9999-12-31T23:59:59-01:00",
            "1738368000",
        ] {
            assert!(start_of_span(text).is_err(), "{text}");
        }
    }
}
