//! How a count groups entries: by time, or by a field of theirs. The edges of time buckets are pure functions of a
//! unit, a time zone and a range.

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp as Instant};

use super::{Invalid, Timestamp, did_you_mean, quoted};

/// The maximum number of groupings of one count.
pub const MAX_GROUPINGS: usize = 5;
/// The maximum number of time buckets.
pub const MAX_BUCKETS: usize = 200;

/// Microseconds per minute.
const MINUTE: i64 = 60_000_000;

/// A unit of time buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// A minute of the clock.
    Minute,
    /// An hour of the clock. The hour that occurs twice when clocks go back makes two buckets.
    Hour,
    /// A day of the calendar: 23 or 25 hours when the clocks change.
    Day,
    /// Monday to Sunday, numbered as in ISO 8601.
    Week,
    /// A month of the calendar.
    Month,
}

impl TimeUnit {
    /// All units, the shortest first.
    pub const ALL: [Self; 5] = [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The public name.
    pub fn name(self) -> &'static str {
        GroupBy::Time(self).name()
    }

    /// The length of a unit of the clock in microseconds; `None` for a unit of the calendar.
    fn length(self) -> Option<i64> {
        match self {
            Self::Minute => Some(MINUTE),
            Self::Hour => Some(60 * MINUTE),
            Self::Day | Self::Week | Self::Month => None,
        }
    }
}

/// One grouping of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    /// By time: a date histogram.
    Time(TimeUnit),
    /// By action.
    Action,
    /// By the type of the resource.
    ResourceType,
    /// By outcome. Entries without one are a group.
    Outcome,
    /// By user: the users with most entries.
    User,
    /// By resource: the resources with most entries.
    Resource,
}

impl GroupBy {
    /// All groupings, with their names in the gRPC contract.
    pub const ALL: [(&'static str, Self); 10] = [
        ("minute", Self::Time(TimeUnit::Minute)),
        ("hour", Self::Time(TimeUnit::Hour)),
        ("day", Self::Time(TimeUnit::Day)),
        ("week", Self::Time(TimeUnit::Week)),
        ("month", Self::Time(TimeUnit::Month)),
        ("action", Self::Action),
        ("resource_type", Self::ResourceType),
        ("outcome", Self::Outcome),
        ("user_id", Self::User),
        ("resource_id", Self::Resource),
    ];

    /// The name in the gRPC contract.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, one)| *one == self).map_or("", |(name, _)| name)
    }

    /// Reads a [`GroupBy::name`]. Errors list all names.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        let names = || Self::ALL.iter().map(|(name, _)| *name);
        let found = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, one)| *one);
        found.ok_or_else(|| {
            let listed = names().collect::<Vec<_>>().join(", ");
            Invalid::new(
                format_args!("must be one of {listed}"),
                format_args!("{}{}", quoted(name), did_you_mean(name, names())),
            )
        })
    }

    /// Errors: one of `others` is the same, or both it and this one are units of time.
    pub fn beside(self, others: &[Self]) -> Result<Self, Invalid> {
        if others.contains(&self) {
            return Err(Invalid("must not be given twice".to_owned()));
        }
        match (self, others.iter().find_map(|other| other.unit())) {
            (Self::Time(unit), Some(other)) => Err(Invalid::new(
                "must have at most one unit of time",
                format_args!("{} and {}", other.name(), unit.name()),
            )),
            _ => Ok(self),
        }
    }

    /// The unit of a grouping by time.
    pub fn unit(self) -> Option<TimeUnit> {
        match self {
            Self::Time(unit) => Some(unit),
            Self::Action | Self::ResourceType | Self::Outcome | Self::User | Self::Resource => None,
        }
    }

    /// Whether only the groups with most entries are returned.
    pub fn is_top(self) -> bool {
        matches!(self, Self::User | Self::Resource)
    }
}

/// A time zone of the IANA database that this program contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Reads a name such as `Europe/Berlin`, in any letter case. Without a name, the zone is UTC.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        /// The length of the longest name whose neighbours are looked for. No name of the database is longer.
        const MAX_NAME: usize = 64;
        if name.is_empty() {
            return Ok(Self(TimeZone::UTC));
        }
        let database = TimeZoneDatabase::bundled();
        if let Some(zone) = database.get(name).ok().filter(|zone| !zone.is_unknown()) {
            return Ok(Self(zone));
        }
        let known: Vec<_> = if name.len() > MAX_NAME { Vec::new() } else { database.available().collect() };
        let hint = did_you_mean(name, known.iter().map(|known| known.as_str()));
        let allowed = "must be the name of an IANA time zone such as Europe/Berlin or UTC";
        Err(Invalid::new(allowed, format_args!("{}{hint}", quoted(name))))
    }
}

/// The number of users or resources that a count returns, 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Top(u8);

impl Top {
    const MAX: u8 = 100;
    const DEFAULT: u8 = 10;

    /// `None` means 10. Errors: not 1 to 100.
    pub fn parse(top: Option<i32>) -> Result<Self, Invalid> {
        match top.map_or(Ok(Self::DEFAULT), u8::try_from) {
            Ok(top @ 1..=Self::MAX) => Ok(Self(top)),
            _ => Err(Invalid::new(format_args!("must be 1 to {}", Self::MAX), top.unwrap_or_default())),
        }
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// The grouping of a count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    /// At most [`MAX_GROUPINGS`], each once, and at most one of time: see [`GroupBy::beside`].
    pub by: Vec<GroupBy>,
    /// The time zone of time buckets.
    pub zone: Zone,
    /// The number of users or resources.
    pub top: Top,
}

/// A group of entries by time, with `start <= timestamp < end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeBucket {
    /// The unit of time that contains the bucket, in ISO 8601: `2025-01-20T10:15+01:00` for a minute, and for an hour
    /// with its first minute; `2025-01-20`, `2025-W04`, `2025-01`.
    pub value: String,
    /// The first instant.
    pub start: Timestamp,
    /// The first instant after the bucket.
    pub end: Timestamp,
}

/// Divides time into units of a time zone. An hour or a minute also ends where the clocks change.
#[derive(Debug, Clone)]
pub struct Calendar {
    unit: TimeUnit,
    zone: TimeZone,
}

impl Calendar {
    /// The units `unit` of `zone`.
    pub fn new(unit: TimeUnit, Zone(zone): &Zone) -> Self {
        Self { unit, zone: zone.clone() }
    }

    /// The buckets from `start` to `end`, in order and without gaps. The first and the last are cut at these ends.
    /// Errors: more than [`MAX_BUCKETS`].
    pub fn buckets(&self, start: Timestamp, end: Timestamp) -> Result<Vec<TimeBucket>, Invalid> {
        let mut buckets = Vec::new();
        let mut at = start;
        while at < end {
            if buckets.len() == MAX_BUCKETS {
                return Err(self.too_many(start, end));
            }
            let next = self.end_of(at).min(end);
            buckets.push(TimeBucket { value: self.value(at), start: at, end: next });
            at = next;
        }
        Ok(buckets)
    }

    /// The start of the unit that contains `at`.
    pub fn start_of(&self, at: Timestamp) -> Timestamp {
        let Some(length) = self.unit.length() else { return self.midnight(self.first_date(at)) };
        let mut start = at.plus(-self.since_start(at, length));
        while let Some(change) = self.clock_change(start, at) {
            start = change;
        }
        start
    }

    /// The first instant after the unit that contains `at`.
    pub fn end_of(&self, at: Timestamp) -> Timestamp {
        let end = match self.unit.length() {
            Some(length) => {
                let end = at.plus(length - self.since_start(at, length));
                self.clock_change(at, end.plus(-1)).unwrap_or(end)
            }
            None => self.following(self.first_date(at)).map_or(Timestamp::END, |next| self.midnight(next)),
        };
        // jiff's time ends 26 hours before the year 10000. These are part of the unit before them.
        if end > timestamp(Instant::MAX) { Timestamp::END } else { end }
    }

    /// The name of the unit that contains `at`.
    fn value(&self, at: Timestamp) -> String {
        match self.unit {
            TimeUnit::Minute | TimeUnit::Hour => {
                let local = self.zone.to_datetime(instant(at));
                let minute = if self.unit == TimeUnit::Minute { local.minute() } else { 0 };
                format!("{}T{:02}:{minute:02}{}", local.date(), local.hour(), self.offset(at))
            }
            TimeUnit::Day => self.first_date(at).to_string(),
            TimeUnit::Week => {
                let week = self.first_date(at).iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            TimeUnit::Month => {
                let month = self.first_date(at);
                format!("{:04}-{:02}", month.year(), month.month())
            }
        }
    }

    /// The offset from UTC at `at`, such as `+01:00`, or `Z`.
    fn offset(&self, at: Timestamp) -> String {
        let seconds = self.zone.to_offset(instant(at)).seconds();
        let (sign, size) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs());
        let (hours, minutes, seconds) = (size / 3_600, size / 60 % 60, size % 60);
        match (size, seconds) {
            (0, _) => "Z".to_owned(),
            (_, 0) => format!("{sign}{hours:02}:{minutes:02}"),
            // Local time before there were time zones.
            _ => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
        }
    }

    /// Microseconds since the clock of `at` last showed a multiple of `length`.
    fn since_start(&self, at: Timestamp, length: i64) -> i64 {
        let offset = i64::from(self.zone.to_offset(instant(at)).seconds()) * 1_000_000;
        (at.micros() + offset).rem_euclid(length)
    }

    /// The first instant after `after` and up to `to` at which the clocks change.
    fn clock_change(&self, after: Timestamp, to: Timestamp) -> Option<Timestamp> {
        let before = self.zone.to_offset(instant(after));
        let mut changes = self.zone.following(instant(after)).take_while(|change| change.timestamp() <= instant(to));
        changes.find(|change| change.offset() != before).map(|change| timestamp(change.timestamp()))
    }

    /// The first date of the day, week or month that contains `at`.
    fn first_date(&self, at: Timestamp) -> Date {
        let date = self.zone.to_datetime(instant(at)).date();
        let mut first = match self.unit {
            TimeUnit::Minute | TimeUnit::Hour | TimeUnit::Day => date,
            TimeUnit::Week => {
                date.checked_sub(Span::new().days(date.weekday().to_monday_zero_offset())).unwrap_or(date)
            }
            TimeUnit::Month => date.first_of_month(),
        };
        // Where clocks went back over midnight, the next day has begun before the rest of this one.
        while let Some(next) = self.following(first).filter(|next| self.midnight(*next) <= at) {
            first = next;
        }
        first
    }

    /// The first date of the next day, week or month; `None` after the year 9999.
    fn following(&self, first: Date) -> Option<Date> {
        let length = match self.unit {
            TimeUnit::Minute | TimeUnit::Hour | TimeUnit::Day => Span::new().days(1),
            TimeUnit::Week => Span::new().days(7),
            TimeUnit::Month => Span::new().months(1),
        };
        first.checked_add(length).ok()
    }

    /// The first instant of a date.
    fn midnight(&self, date: Date) -> Timestamp {
        let midnight = self.zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0));
        let first = match midnight.offset() {
            // The clocks skipped midnight, so the date begins where they changed.
            AmbiguousOffset::Gap { .. } => {
                let before = midnight.earlier().ok();
                before.and_then(|before| self.zone.following(before).next()).map(|change| change.timestamp())
            }
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => midnight.earlier().ok(),
        };
        first.map_or(Timestamp::END, timestamp)
    }

    fn too_many(&self, start: Timestamp, end: Timestamp) -> Invalid {
        const MAX: i64 = MAX_BUCKETS as i64;
        let fits = |unit: &TimeUnit| Self { unit: *unit, zone: self.zone.clone() }.estimate(start, end) <= MAX;
        let larger = TimeUnit::ALL.into_iter().skip_while(|unit| *unit != self.unit).skip(1).find(fits);
        let hint = larger.map_or_else(String::new, |unit| format!(", or a larger unit such as {}", unit.name()));
        let number = self.estimate(start, end).max(MAX + 1);
        Invalid::new(
            format_args!("must make at most {MAX_BUCKETS} buckets"),
            format_args!(
                "{number} of one {} each from {start} to {end}; give a shorter range of time{hint}",
                self.unit.name()
            ),
        )
    }

    /// The number of buckets from `start` to `end`, which are not equal. It may differ by one or two where clocks
    /// change by other times than hours.
    fn estimate(&self, start: Timestamp, end: Timestamp) -> i64 {
        let last = end.plus(-1);
        if let Some(length) = self.unit.length() {
            return (last.micros() - self.start_of(start).micros()) / length + 1;
        }
        let (first, last) = (self.first_date(start), self.first_date(last));
        let days = last.duration_since(first).as_hours() / 24;
        let months = i64::from(last.year() - first.year()) * 12 + i64::from(last.month() - first.month());
        match self.unit {
            TimeUnit::Minute | TimeUnit::Hour | TimeUnit::Day => days + 1,
            TimeUnit::Week => days / 7 + 1,
            TimeUnit::Month => months + 1,
        }
    }
}

/// `at` for jiff, whose time ends a day before ours.
fn instant(at: Timestamp) -> Instant {
    Instant::from_microsecond(at.micros()).unwrap_or(Instant::MAX)
}

fn timestamp(instant: Instant) -> Timestamp {
    Timestamp::saturating(instant.as_microsecond())
}

#[cfg(test)]
mod tests;
