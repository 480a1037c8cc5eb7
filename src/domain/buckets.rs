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

/// What a count is grouped by.
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
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("an instant")
    }

    fn calendar(unit: TimeUnit, zone: &str) -> Calendar {
        Calendar::new(unit, &Zone::parse(zone).expect("a zone"))
    }

    /// The buckets from `start` to `end`: the name and the end of each.
    fn buckets(unit: TimeUnit, zone: &str, start: &str, end: &str) -> Vec<(String, String)> {
        let buckets = calendar(unit, zone).buckets(at(start), at(end)).expect("few buckets");
        let mut begin = at(start);
        for bucket in &buckets {
            assert_eq!(std::mem::replace(&mut begin, bucket.end), bucket.start, "no gap");
        }
        assert_eq!(begin, at(end));
        buckets.into_iter().map(|bucket| (bucket.value, bucket.end.to_string())).collect()
    }

    fn owned<const N: usize>(buckets: [(&str, &str); N]) -> Vec<(String, String)> {
        buckets.map(|(value, end)| (value.to_owned(), end.to_owned())).to_vec()
    }

    #[test]
    fn a_day_has_23_or_25_hours_when_clocks_change() {
        let spring = buckets(TimeUnit::Day, "Europe/Berlin", "2025-03-28T23:00:00Z", "2025-03-31T22:00:00Z");
        let expected = [
            ("2025-03-29", "2025-03-29T23:00:00Z"),
            ("2025-03-30", "2025-03-30T22:00:00Z"),
            ("2025-03-31", "2025-03-31T22:00:00Z"),
        ];
        assert_eq!(spring, owned(expected));
        let autumn = buckets(TimeUnit::Day, "europe/berlin", "2025-10-25T22:00:00Z", "2025-10-27T23:00:00Z");
        assert_eq!(autumn, owned([("2025-10-26", "2025-10-26T23:00:00Z"), ("2025-10-27", "2025-10-27T23:00:00Z")]));
    }

    #[test]
    fn an_hour_that_occurs_twice_makes_two_buckets_and_a_skipped_one_none() {
        let autumn = buckets(TimeUnit::Hour, "Europe/Berlin", "2025-10-26T00:00:00Z", "2025-10-26T02:00:00Z");
        let expected =
            [("2025-10-26T02:00+02:00", "2025-10-26T01:00:00Z"), ("2025-10-26T02:00+01:00", "2025-10-26T02:00:00Z")];
        assert_eq!(autumn, owned(expected));
        let spring = buckets(TimeUnit::Hour, "Europe/Berlin", "2025-03-30T00:00:00Z", "2025-03-30T02:00:00Z");
        let expected =
            [("2025-03-30T01:00+01:00", "2025-03-30T01:00:00Z"), ("2025-03-30T03:00+02:00", "2025-03-30T02:00:00Z")];
        assert_eq!(spring, owned(expected));
    }

    #[test]
    fn clocks_that_change_by_half_an_hour_cut_an_hour() {
        let back = buckets(TimeUnit::Hour, "Australia/Lord_Howe", "2025-04-05T14:00:00Z", "2025-04-05T16:30:00Z");
        let expected = [
            ("2025-04-06T01:00+11:00", "2025-04-05T15:00:00Z"),
            ("2025-04-06T01:00+10:30", "2025-04-05T15:30:00Z"),
            ("2025-04-06T02:00+10:30", "2025-04-05T16:30:00Z"),
        ];
        assert_eq!(back, owned(expected));
        let forward = buckets(TimeUnit::Hour, "Australia/Lord_Howe", "2025-10-04T14:30:00Z", "2025-10-04T17:00:00Z");
        let expected = [
            ("2025-10-05T01:00+10:30", "2025-10-04T15:30:00Z"),
            ("2025-10-05T02:00+11:00", "2025-10-04T16:00:00Z"),
            ("2025-10-05T03:00+11:00", "2025-10-04T17:00:00Z"),
        ];
        assert_eq!(forward, owned(expected));
    }

    #[test]
    fn a_day_begins_once_where_clocks_change_at_midnight() {
        let skipped = buckets(TimeUnit::Day, "America/Sao_Paulo", "2018-11-03T03:00:00Z", "2018-11-05T02:00:00Z");
        assert_eq!(skipped, owned([("2018-11-03", "2018-11-04T03:00:00Z"), ("2018-11-04", "2018-11-05T02:00:00Z")]));
        // At 00:01, clocks went back to 23:01 of the day before.
        let repeated = buckets(TimeUnit::Day, "America/Goose_Bay", "2010-11-06T03:00:00Z", "2010-11-08T04:00:00Z");
        let expected = [("2010-11-06", "2010-11-07T03:00:00Z"), ("2010-11-07", "2010-11-08T04:00:00Z")];
        assert_eq!(repeated, owned(expected));
        let within = buckets(TimeUnit::Day, "America/Goose_Bay", "2010-11-07T03:30:00Z", "2010-11-08T04:00:00Z");
        assert_eq!(within, owned([("2010-11-07", "2010-11-08T04:00:00Z")]));
        // Samoa had no 30 December.
        let missing = buckets(TimeUnit::Day, "Pacific/Apia", "2011-12-29T10:00:00Z", "2011-12-31T10:00:00Z");
        assert_eq!(missing, owned([("2011-12-29", "2011-12-30T10:00:00Z"), ("2011-12-31", "2011-12-31T10:00:00Z")]));
    }

    #[test]
    fn weeks_begin_on_monday_and_months_have_their_length() {
        let weeks = buckets(TimeUnit::Week, "", "2024-12-29T12:00:00Z", "2025-01-07T00:00:00Z");
        let expected = [
            ("2024-W52", "2024-12-30T00:00:00Z"),
            ("2025-W01", "2025-01-06T00:00:00Z"),
            ("2025-W02", "2025-01-07T00:00:00Z"),
        ];
        assert_eq!(weeks, owned(expected));
        let long = buckets(TimeUnit::Week, "UTC", "2020-12-31T00:00:00Z", "2021-01-04T00:00:00Z");
        assert_eq!(long, owned([("2020-W53", "2021-01-04T00:00:00Z")]));
        let months = buckets(TimeUnit::Month, "", "2024-01-31T00:00:00Z", "2024-03-01T00:00:00.000001Z");
        let expected = [
            ("2024-01", "2024-02-01T00:00:00Z"),
            ("2024-02", "2024-03-01T00:00:00Z"),
            ("2024-03", "2024-03-01T00:00:00.000001Z"),
        ];
        assert_eq!(months, owned(expected));
    }

    #[test]
    fn the_first_and_the_last_year_have_buckets() {
        let first = calendar(TimeUnit::Day, "America/New_York");
        assert_eq!(first.start_of(Timestamp::MIN), Timestamp::MIN);
        let days = first.buckets(Timestamp::MIN, at("0001-01-02T00:00:00Z")).expect("two");
        let values: Vec<_> = days.iter().map(|day| (day.value.as_str(), day.end.to_string())).collect();
        let ends = ["0001-01-01T04:56:02Z", "0001-01-02T00:00:00Z"].map(str::to_owned);
        assert_eq!(values, ["0000-12-31", "0001-01-01"].into_iter().zip(ends).collect::<Vec<_>>());
        for (unit, start, expected) in [
            (TimeUnit::Month, "9999-11-01T00:00:00Z", &["9999-11", "9999-12"][..]),
            (TimeUnit::Day, "9999-12-29T00:00:00Z", &["9999-12-29", "9999-12-30"]),
            (TimeUnit::Hour, "9999-12-30T21:00:00Z", &["9999-12-30T21:00Z", "9999-12-30T22:00Z"]),
            (TimeUnit::Minute, "9999-12-31T23:59:59Z", &["9999-12-30T22:00Z"]),
        ] {
            let buckets = calendar(unit, "").buckets(at(start), Timestamp::END).expect("few");
            assert_eq!(buckets.iter().map(|bucket| bucket.value.as_str()).collect::<Vec<_>>(), expected);
            assert_eq!(buckets.last().map(|bucket| bucket.end), Some(Timestamp::END));
        }
    }

    #[test]
    fn more_than_200_buckets_are_refused_with_their_number() {
        let minutes = calendar(TimeUnit::Minute, "Asia/Kolkata");
        let (start, end) = (at("2025-01-01T00:00:00Z"), at("2025-01-01T03:20:00Z"));
        assert_eq!(minutes.buckets(start, end).expect("as many as may be").len(), MAX_BUCKETS);
        let refused = minutes.buckets(start, end.plus(1)).expect_err("one more");
        let expected = "must make at most 200 buckets, got 201 of one minute each from 2025-01-01T00:00:00Z to \
                        2025-01-01T03:20:00.000001Z; give a shorter range of time, or a larger unit such as hour";
        assert_eq!(refused.0, expected);
        let refused = |unit| {
            calendar(unit, "").buckets(at("2024-01-01T00:00:00Z"), at("2025-01-01T00:00:00Z")).expect_err("many").0
        };
        assert!(
            refused(TimeUnit::Hour).contains("got 8784 of one hour")
                && refused(TimeUnit::Hour).ends_with("such as week")
        );
        assert!(refused(TimeUnit::Day).contains("got 366 of one day"));
        let all = minutes.buckets(Timestamp::MIN, Timestamp::END).expect_err("all of time").0;
        assert!(
            all.contains("got 5258964960 of one minute each") && all.ends_with("; give a shorter range of time"),
            "{all}"
        );
    }

    #[test]
    fn each_instant_is_in_one_unit() {
        let mut random = StdRng::seed_from_u64(9);
        let zones =
            ["UTC", "Europe/Berlin", "America/Goose_Bay", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Cairo"];
        for zone in zones {
            for unit in TimeUnit::ALL {
                let calendar = calendar(unit, zone);
                for _ in 0..300 {
                    let year = random.random_range(-70..70);
                    let at =
                        Timestamp::saturating(year * 31_556_952_000_000 + random.random_range(0..31_556_952_000_000));
                    let (start, end) = (calendar.start_of(at), calendar.end_of(at));
                    assert!(start <= at && at < end, "{unit:?} in {zone}: {at} is from {start} to {end}");
                    assert_eq!(
                        (calendar.end_of(start), calendar.start_of(end.plus(-1))),
                        (end, start),
                        "{unit:?} in {zone}: {at}"
                    );
                    assert_eq!(calendar.start_of(end), end, "{unit:?} in {zone}: {at}");
                    assert_eq!(
                        (calendar.value(start), calendar.value(end.plus(-1))),
                        (calendar.value(at), calendar.value(at))
                    );
                }
            }
        }
    }

    #[test]
    fn groupings_are_named_once_each_with_one_unit_of_time() {
        for (name, one) in GroupBy::ALL {
            assert_eq!((GroupBy::parse(name), one.name()), (Ok(one), name));
        }
        let refused = GroupBy::parse("months").expect_err("a slip of the pen").0;
        assert!(
            refused.starts_with("must be one of minute, hour, ") && refused.ends_with("did you mean month?"),
            "{refused}"
        );
        let day = GroupBy::Time(TimeUnit::Day);
        assert_eq!(day.beside(&[GroupBy::Action]), Ok(day));
        assert_eq!(day.beside(&[day]).expect_err("twice").0, "must not be given twice");
        let both = GroupBy::Time(TimeUnit::Month).beside(&[GroupBy::Action, day]).expect_err("two units").0;
        assert_eq!(both, "must have at most one unit of time, got day and month");
    }

    #[test]
    fn an_unknown_zone_is_refused_with_an_example() {
        let refused = |name: &str| Zone::parse(name).expect_err("no zone").0;
        let rule = "must be the name of an IANA time zone such as Europe/Berlin or UTC";
        assert_eq!(refused("Mars/Olympus_Mons"), format!("{rule}, got \"Mars/Olympus_Mons\""));
        assert_eq!(refused("Europe/Berln"), format!("{rule}, got \"Europe/Berln\"; did you mean Europe/Berlin?"));
        for name in ["CEST", "+01:00", "Etc/Unknown", "../etc/passwd", &"x".repeat(10_000)] {
            assert!(refused(name).starts_with(rule), "{name}");
        }
        assert_eq!(Zone::parse("utc"), Zone::parse(""));
    }
}
