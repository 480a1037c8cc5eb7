//! Instants in microseconds, UTC.

use std::fmt::{self, Write};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Invalid, quoted};

/// An instant from 0001-01-01T00:00:00Z to 10000-01-01T00:00:00Z. The last one is only used as the end of ranges. Shown
/// as RFC 3339 in UTC, with six digits of fraction, or without a fraction if it is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const SECOND: i64 = 1_000_000;

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_135_596_800 * SECOND);
    /// 10000-01-01T00:00:00Z.
    pub const END: Self = Self(253_402_300_800 * SECOND);

    /// From microseconds since 1970-01-01T00:00:00Z, clamped to the range.
    pub fn saturating(micros: i64) -> Self {
        Self(micros.clamp(Self::MIN.0, Self::END.0))
    }

    /// From seconds since 1970 and nanoseconds after that second, as in protobuf. Digits below a microsecond are
    /// dropped.
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

    /// Reads an RFC 3339 date-time with an offset.
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

    /// RFC 3339 in UTC with six digits of fraction, even if they are zero: the form that is hashed.
    pub fn exact(self) -> String {
        let mut text = String::with_capacity(27);
        // Writing to a string cannot fail.
        let _ = self.write_seconds(&mut text);
        let _ = write!(text, ".{:06}Z", self.0.rem_euclid(SECOND));
        text
    }

    /// Writes the instant without a fraction and without `Z`. The formatter of `time` takes several times as long.
    fn write_seconds(self, text: &mut impl fmt::Write) -> fmt::Result {
        if self >= Self::END {
            return text.write_str("10000-01-01T00:00:00");
        }
        let instant = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(SECOND)).map_err(|_| fmt::Error)?;
        let ((year, month, day), (hour, minute, second)) = (instant.to_calendar_date(), instant.to_hms());
        let month = u8::from(month);
        write!(text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }

    /// This instant moved by `micros`, clamped to the range.
    pub fn plus(self, micros: i64) -> Self {
        Self::saturating(self.0.saturating_add(micros))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_seconds(f)?;
        match self.0.rem_euclid(SECOND) {
            0 => f.write_str("Z"),
            fraction => write!(f, ".{fraction:06}Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
