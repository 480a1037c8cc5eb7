//! Instants in microseconds, UTC, and the dates that readers write.

use std::fmt;

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use super::{Invalid, quoted};

/// An instant from 0001-01-01T00:00:00Z up to and including 10000-01-01T00:00:00Z, which only ends
/// ranges. Shown as RFC 3339 in UTC, with six digits of fraction, or none where it is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_135_596_800 * SECOND);
    /// 10000-01-01T00:00:00Z.
    pub const END: Self = Self(253_402_300_800 * SECOND);

    /// From microseconds since 1970-01-01T00:00:00Z, brought into range.
    pub fn saturating(micros: i64) -> Self {
        Self(micros.clamp(Self::MIN.0, Self::END.0))
    }

    /// From seconds since 1970 and nanoseconds after that second, as protobuf has them. Digits finer
    /// than a microsecond are dropped.
    pub fn from_parts(seconds: i64, nanos: i32) -> Result<Self, Invalid> {
        if !(0..1_000_000_000).contains(&nanos) {
            return Err(Invalid::new("nanos must be 0 to 999999999", nanos));
        }
        let out_of_range =
            || Invalid::new("must be of the years 1 to 9999", format_args!("{seconds} seconds since 1970"));
        let micros = seconds.checked_mul(SECOND).ok_or_else(out_of_range)? + i64::from(nanos / 1_000);
        let instant = Self(micros);
        (Self::MIN <= instant && instant <= Self::END).then_some(instant).ok_or_else(out_of_range)
    }

    /// From an RFC 3339 date-time with an offset.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let instant = OffsetDateTime::parse(text, &Rfc3339)
            .map_err(|_| Invalid::new("must be an RFC 3339 date-time such as 2025-01-31T23:59:59Z", quoted(text)))?;
        Self::from_offset(instant).ok_or_else(|| Invalid::new("must be of the years 1 to 9999 in UTC", quoted(text)))
    }

    fn from_offset(instant: OffsetDateTime) -> Option<Self> {
        Self::from_parts(instant.unix_timestamp(), i32::try_from(instant.nanosecond()).ok()?).ok()
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Seconds since 1970 and the nanoseconds after that second.
    pub fn parts(self) -> (i64, i32) {
        let nanos = self.0.rem_euclid(SECOND) * 1_000;
        // Below 10^9, so it fits.
        (self.0.div_euclid(SECOND), i32::try_from(nanos).unwrap_or(0))
    }

    /// As RFC 3339 in UTC, with six digits of fraction also where they are zero: the form that is hashed.
    pub fn exact(self) -> String {
        let fraction = self.0.rem_euclid(SECOND);
        let second = Self(self.0 - fraction).to_string();
        format!("{}.{fraction:06}Z", second.trim_end_matches('Z'))
    }

    /// This instant moved by `micros`, kept in range.
    pub fn plus(self, micros: i64) -> Self {
        Self::saturating(self.0.saturating_add(micros))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self >= Self::END {
            return f.write_str("10000-01-01T00:00:00Z");
        }
        let instant = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(SECOND)).map_err(|_| fmt::Error)?;
        let seconds = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
        f.write_str(&instant.format(seconds).map_err(|_| fmt::Error)?)?;
        match self.0.rem_euclid(SECOND) {
            0 => f.write_str("Z"),
            fraction => write!(f, ".{fraction:06}Z"),
        }
    }
}

/// The first instant that `text` covers: an RFC 3339 date-time, one without offset (taken as UTC), or
/// a date (a day in UTC). A `+` that arrived as a space is understood.
pub fn start_of_span(text: &str) -> Result<Timestamp, Invalid> {
    span(text).map(|(start, _)| start)
}

/// The first instant after all that `text` covers, by the precision it was written in:
/// `2025-01-31` covers that day, `…T23:59:59Z` that second.
pub fn end_of_span(text: &str) -> Result<Timestamp, Invalid> {
    span(text).map(|(start, length)| start.plus(length))
}

/// The first instant that `text` covers and the microseconds that it covers, at least one.
fn span(text: &str) -> Result<(Timestamp, i64), Invalid> {
    let allowed = "must be an RFC 3339 date-time such as 2025-01-31T23:59:59Z, or a date such as 2025-01-31";
    let refuse = || Invalid::new(allowed, quoted(text));
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(refuse());
    }
    if let Ok(date) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        let start = Timestamp::from_offset(date.midnight().assume_utc()).ok_or_else(refuse)?;
        return Ok((start, DAY));
    }
    let text = restore_plus(text);
    let written = OffsetDateTime::parse(&text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339))
        .map_err(|_| refuse())?;
    let digits = text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    let length = (digits..6).fold(1, |length, _| length * 10);
    let Timestamp(instant) = Timestamp::from_offset(written).ok_or_else(refuse)?;
    // A leap second parses to the last nanosecond before it, so go back to where the span begins.
    Ok((Timestamp(instant - instant.rem_euclid(length)), length))
}

/// `…T10:00:00 02:00` is what a server sees of `…T10:00:00+02:00` in a query that nobody encoded.
fn restore_plus(text: &str) -> String {
    match text.len().checked_sub("+02:00".len()).and_then(|place| text.split_at_checked(place)) {
        Some((time, offset)) if time.contains(['T', 't']) && offset.starts_with(' ') => {
            format!("{time}+{}", &offset[1..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(text: &str) -> String {
        let start = start_of_span(text).expect("a date");
        format!("{start} to {}", end_of_span(text).expect("a date"))
    }

    #[test]
    fn a_date_covers_what_it_was_written_to_cover() {
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
    fn what_is_no_date_is_refused() {
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

    #[test]
    fn the_exact_form_has_always_six_digits() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1, "1970-01-01T00:00:00.000001Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (-1_000_000, "1969-12-31T23:59:59.000000Z"),
            (Timestamp::MIN.0, "0001-01-01T00:00:00.000000Z"),
            (Timestamp::END.0 - 1, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(Timestamp(micros).exact(), text);
            assert_eq!(Timestamp::parse(text), Ok(Timestamp(micros)));
        }
    }

    #[test]
    fn parts_and_micros_agree_on_both_sides_of_1970() {
        for (seconds, nanos, micros) in [(0, 0, 0), (-1, 999_999_999, -1), (1, 1_999, 1_000_001), (-2, 0, -2_000_000)] {
            let instant = Timestamp::from_parts(seconds, nanos).expect("in range");
            assert_eq!(instant.micros(), micros);
            assert_eq!(instant.parts(), (seconds, nanos / 1_000 * 1_000));
        }
        assert!(Timestamp::from_parts(i64::MAX, 0).is_err());
        assert!(Timestamp::from_parts(0, -1).is_err());
    }
}
