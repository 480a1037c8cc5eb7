//! Random counts over the sample trail, by every group and with every filter.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

use auditlog::access::Scope;
use auditlog::domain::Timestamp;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use time::{Date, OffsetDateTime};

use super::entries::Trail;
use super::search::{Budget, DAY, MAX_CANDIDATES, Searched, check_refused, recorded};
use super::{ACTIONS, Asked, Row, SEGMENTS, TYPES, seed};
use crate::search::asked::encoded;
use crate::support::trail::{self, ENTRIES, ORGANIZATION};
use crate::support::{Backend, Service, run, say};

/// The counts on each database.
const REQUESTS: usize = 160;
/// The candidates that the larger searches among them may have in all.
const BUDGET: usize = 30_000;
const MAX_BUCKETS: usize = 200;
const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
/// Units of time with their length, which is the least for months.
const UNITS: [(&str, i64); 5] =
    [("minute", MINUTE), ("hour", HOUR), ("day", DAY), ("week", 7 * DAY), ("month", 28 * DAY)];
const FIELDS: [&str; 5] = ["action", "resourceType", "outcome", "userId", "resourceId"];
/// The number of users or resources of a request that does not say it.
const TOP: usize = 10;

/// The date of an instant in UTC.
fn date(micros: i64) -> Date {
    OffsetDateTime::from_unix_timestamp(micros.div_euclid(1_000_000)).expect("in range").date()
}

/// The first microsecond of the unit that has `micros`, in UTC.
fn start_of(unit: &str, micros: i64) -> i64 {
    let day = micros - micros.rem_euclid(DAY);
    match unit {
        "minute" => micros - micros.rem_euclid(MINUTE),
        "hour" => micros - micros.rem_euclid(HOUR),
        "day" => day,
        "week" => day - i64::from(date(micros).weekday().number_days_from_monday()) * DAY,
        _ => day - i64::from(date(micros).day() - 1) * DAY,
    }
}

/// The first microsecond after the unit that has `micros`.
fn end_of(unit: &str, micros: i64) -> i64 {
    let start = start_of(unit, micros);
    match unit {
        "minute" => start + MINUTE,
        "hour" => start + HOUR,
        "day" => start + DAY,
        "week" => start + 7 * DAY,
        _ => start_of(unit, start + 31 * DAY),
    }
}

/// The name of the unit that has `micros`.
fn name(unit: &str, micros: i64) -> String {
    let text = Timestamp::saturating(micros).to_string();
    match unit {
        "minute" => format!("{}Z", &text[..16]),
        "hour" => format!("{}:00Z", &text[..13]),
        "day" => text[..10].to_owned(),
        "week" => {
            let (year, week, _) = date(micros).to_iso_week_date();
            format!("{year:04}-W{week:02}")
        }
        _ => text[..7].to_owned(),
    }
}

/// The number of rows with each value, the highest first, and equal ones by value.
fn terms<'r, V: Ord>(rows: &[&'r Row], value: impl Fn(&'r Row) -> V) -> Vec<(V, usize)> {
    let mut terms: BTreeMap<V, usize> = BTreeMap::new();
    for row in rows.iter().copied() {
        *terms.entry(value(row)).or_default() += 1;
    }
    let mut terms: Vec<_> = terms.into_iter().collect();
    terms.sort_by_key(|(_, count)| Reverse(*count));
    terms
}

/// The place of a name in the catalogue, by which equal groups are sorted.
fn place(names: &[&str], name: &str) -> usize {
    names.iter().position(|own| *own == name).expect("a name of the catalogue")
}

/// The groups of a count.
struct Groups {
    by: Vec<&'static str>,
    top: usize,
}

impl Groups {
    fn random(random: &mut StdRng, asked: &Asked) -> Self {
        let mut by = FIELDS.to_vec();
        by.shuffle(random);
        by.truncate(random.random_range(0..FIELDS.len()));
        if random.random_bool(0.6) {
            let span = asked.from.zip(asked.to).map_or(4_000 * DAY, |(from, to)| to - from);
            let mut units = UNITS.to_vec();
            if random.random_bool(0.85) {
                // The range has few enough of these.
                units.retain(|(_, length)| span / length < 195);
            }
            by.extend(units.choose(random).map(|(unit, _)| *unit));
            by.shuffle(random);
        }
        let has_top = by.iter().any(|by| is_top(by));
        let top = if has_top { *[1, 3, TOP, TOP, 100].choose(random).expect("numbers") } else { TOP };
        Self { by, top }
    }

    /// The query of a count of `asked`.
    fn query(&self, asked: &Asked) -> String {
        let mut query = asked.query.clone();
        // A count has no pages, and there is none of a history.
        query.retain(|(name, _)| name != "limit");
        if let Some((segment, id)) = &asked.history {
            let (name, _) = SEGMENTS.iter().find(|(_, own)| own == segment).expect("a segment");
            query.push(("resourceType".to_owned(), (*name).to_owned()));
            query.push(("resourceId".to_owned(), id.clone()));
        }
        query.extend(self.by.iter().map(|by| ("by".to_owned(), (*by).to_owned())));
        if self.top != TOP {
            query.push(("top".to_owned(), self.top.to_string()));
        }
        encoded(&query)
    }
}

fn is_top(by: &str) -> bool {
    by == "userId" || by == "resourceId"
}

/// The entries that a count finds.
struct Found<'r> {
    asked: &'r Asked,
    rows: Vec<&'r Row>,
    groups: &'r Groups,
}

impl Found<'_> {
    /// The `counts` of the answer, or the code and the beginning of the message of an error.
    fn counts(&self) -> Result<Vec<Value>, (&'static str, String)> {
        let (by, total) = (&self.groups.by, self.rows.len());
        if by.iter().any(|by| is_top(by)) && total > MAX_CANDIDATES {
            let message = format!("by: must have at most {MAX_CANDIDATES} entries to read, got {total}; ");
            return Err(("too_broad", message));
        }
        by.iter().map(|by| self.counts_by(by)).collect()
    }

    fn counts_by(&self, by: &str) -> Result<Value, (&'static str, String)> {
        let rows = self.rows.as_slice();
        let named = |names: &[&str], terms: Vec<(usize, usize)>| {
            let buckets = terms.iter().map(|(place, count)| json!({"value": names[*place], "count": count}));
            json!({"by": by, "buckets": buckets.collect::<Vec<_>>()})
        };
        Ok(match by {
            "action" => named(&ACTIONS, terms(rows, |row| place(&ACTIONS, &row.action))),
            "resourceType" => named(&TYPES, terms(rows, |row| place(&TYPES, &row.resource_type))),
            "outcome" => {
                // No entry of the trail has one.
                let bucket = (!rows.is_empty()).then(|| json!({"value": null, "count": rows.len()}));
                json!({"by": by, "buckets": bucket.into_iter().collect::<Vec<_>>()})
            }
            "userId" => {
                let users = terms(rows, |row| row.user_id.as_str());
                self.top(by, users, |user, count| json!({"value": user, "count": count}))
            }
            "resourceId" => {
                let resources = terms(rows, |row| (row.resource_id.as_str(), place(&TYPES, &row.resource_type)));
                self.top(
                    by,
                    resources,
                    |(id, code), count| json!({"value": id, "resourceType": TYPES[*code], "count": count}),
                )
            }
            unit => json!({"by": by, "buckets": self.over_time(unit)?}),
        })
    }

    /// The first of `terms`, and the number of entries of all others.
    fn top<V>(&self, by: &str, mut terms: Vec<(V, usize)>, bucket: impl Fn(&V, usize) -> Value) -> Value {
        terms.truncate(self.groups.top);
        let other = self.rows.len() - terms.iter().map(|(_, count)| count).sum::<usize>();
        let buckets: Vec<_> = terms.iter().map(|(value, count)| bucket(value, *count)).collect();
        json!({"by": by, "buckets": buckets, "other": other})
    }

    /// The ends of the time that buckets cover: those of the filter, or else of the units with the oldest and the newest
    /// entry of the trail between them. `None` if there is no entry.
    fn range(&self, unit: &str) -> Option<(i64, i64)> {
        let Asked { from, to, .. } = self.asked;
        if let (Some(from), Some(to)) = (from, to) {
            return Some((*from, *to));
        }
        let is_within = |time: i64| from.is_none_or(|from| from <= time) && to.is_none_or(|to| time < to);
        let mut times = Trail::parsed().rows.iter().map(|row| row.timestamp).filter(|time| is_within(*time));
        let newest = times.next()?;
        let oldest = times.next_back().unwrap_or(newest);
        Some((from.unwrap_or_else(|| start_of(unit, oldest)), to.unwrap_or_else(|| end_of(unit, newest))))
    }

    fn over_time(&self, unit: &str) -> Result<Vec<Value>, (&'static str, String)> {
        let Some((start, end)) = self.range(unit) else { return Ok(Vec::new()) };
        let (mut starts, mut at) = (Vec::new(), start);
        while at < end {
            if starts.len() == MAX_BUCKETS {
                let message = format!("by: must make at most {MAX_BUCKETS} buckets, got ");
                return Err(("invalid_parameter", message));
            }
            starts.push(at);
            at = end_of(unit, at).min(end);
        }
        let mut counts = vec![0_usize; starts.len()];
        for row in &self.rows {
            counts[starts.partition_point(|start| *start <= row.timestamp) - 1] += 1;
        }
        let instant = |micros: i64| Timestamp::saturating(micros).to_string();
        let bucket = |(start, count): (&i64, usize)| {
            let until = end_of(unit, *start).min(end);
            json!({"value": name(unit, *start), "start": instant(*start), "end": instant(until), "count": count})
        };
        Ok(starts.iter().zip(counts).map(bucket).collect())
    }
}

/// The number of counts, of those that were refused, and of those with buckets of time.
#[derive(Default)]
struct Tally {
    asked: usize,
    refused: usize,
    histograms: usize,
}

struct Counter<'a> {
    service: &'a Service,
    key: &'a str,
    recorded: &'a [i64],
    random: StdRng,
    budget: Budget,
    tally: Tally,
}

impl Counter<'_> {
    /// Sends a random count, unless the service would have to read too much.
    async fn ask(&mut self) {
        let random = &mut self.random;
        let searched = match random.random_bool(0.5) {
            true => Searched::random(random, self.recorded),
            false => {
                let target = Trail::parsed().rows.choose(random).expect("rows");
                Searched::listed(random, target)
            }
        };
        let groups = Groups::random(random, &searched.asked);
        let candidates = searched.candidates();
        if searched.is_affordable(&candidates, &mut self.budget) {
            self.compare(&searched, &candidates, &groups).await;
        }
    }

    /// Sends a count and compares the answer with what brute force finds.
    async fn compare(&mut self, searched: &Searched, candidates: &[&'static Row], groups: &Groups) {
        let path = format!("/v1/{ORGANIZATION}/audit-log-counts?{}", groups.query(&searched.asked));
        self.tally.asked += 1;
        let (total, counts) = match searched.refusal(candidates) {
            Some(message) => (0, Err(("too_broad", message))),
            None => {
                let rows = searched.matching(candidates, self.recorded);
                (rows.len(), Found { asked: &searched.asked, rows, groups }.counts())
            }
        };
        match counts {
            Ok(counts) => {
                let answer = self.service.get(&path, self.key).await;
                let expected = json!({"total": total, "headSequence": ENTRIES, "counts": counts});
                assert_eq!((answer.status, answer.body), (200, expected), "{path}");
                self.tally.histograms += usize::from(groups.by.iter().any(|by| !FIELDS.contains(by)));
            }
            Err((code, message)) => {
                check_refused(self.service, self.key, &path, (code, message.as_str())).await;
                self.tally.refused += 1;
            }
        }
    }
}

fn counts(backend: Backend) {
    run(async {
        let Some(database) = trail::database(backend).await else { return };
        let (begun, seed) = (Instant::now(), seed());
        let recorded = recorded(database).await;
        let service = Service::start(database).await;
        let key = service.key(Some(ORGANIZATION), &[Scope::Read]).await;
        let random = StdRng::seed_from_u64(seed.wrapping_add(17));
        let (budget, tally) = (Budget(BUDGET), Tally::default());
        let mut counter = Counter { service: &service, key: &key, recorded: &recorded, random, budget, tally };
        while counter.tally.asked < REQUESTS {
            counter.ask().await;
        }
        let Tally { asked, refused, histograms } = counter.tally;
        say(&format!(
            "{backend:?}: {asked} random counts of the trail in {:?}, {histograms} with time, {refused} refused, \
             AUDITLOG_TEST_SEED={seed}",
            begun.elapsed()
        ));
        assert!(refused > 1 && histograms > asked / 5, "{histograms} of {asked} with time, {refused} refused");
        service.stop().await;
    });
}

#[test]
fn random_counts_give_what_brute_force_gives_sqlite() {
    counts(Backend::Sqlite);
}

#[test]
fn random_counts_give_what_brute_force_gives_postgres() {
    counts(Backend::Postgres);
}
