//! Compares buckets with the clocks of several zones.

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
    let refused =
        |unit| calendar(unit, "").buckets(at("2024-01-01T00:00:00Z"), at("2025-01-01T00:00:00Z")).expect_err("many").0;
    assert!(
        refused(TimeUnit::Hour).contains("got 8784 of one hour") && refused(TimeUnit::Hour).ends_with("such as week")
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
    let zones = ["UTC", "Europe/Berlin", "America/Goose_Bay", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Cairo"];
    for zone in zones {
        for unit in TimeUnit::ALL {
            let calendar = calendar(unit, zone);
            for _ in 0..300 {
                let year = random.random_range(-70..70);
                let at = Timestamp::saturating(year * 31_556_952_000_000 + random.random_range(0..31_556_952_000_000));
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
