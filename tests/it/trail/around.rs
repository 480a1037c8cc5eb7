//! The entries around entries of the trail, compared with brute force. Its busiest minutes have many more entries than a
//! page.

use auditlog::access::Scope;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::{Row, model, seed};
use crate::support::trail::{self, ORGANIZATION};
use crate::support::{Backend, Service, run, say};

/// Random entries on each database.
const ASKED: usize = 300;
const MINUTE: i64 = 60_000_000;

/// Asks for the entries around `rows[place]`, and returns whether the newest entries of the window lack this entry.
async fn ask(service: &Service, key: &str, rows: &[Row], place: usize, (minutes, limit): (i64, usize)) -> bool {
    let (id, time) = (&rows[place].id, rows[place].timestamp);
    let is_near = |row: &&Row| (row.timestamp - time).abs() <= minutes * MINUTE;
    let window: Vec<_> = rows.iter().filter(is_near).map(|row| row.id.as_str()).collect();
    let own = window.iter().position(|other| other == id).expect("it is near itself");
    // Half of the others are newer, unless one side has fewer.
    let newer = own.min(((limit - 1) / 2).max((limit + own).saturating_sub(window.len())));
    let expected: Vec<_> = window.iter().copied().skip(own - newer).take(limit).collect();
    let path = format!("/v1/{ORGANIZATION}/audit-logs/{id}/around?minutes={minutes}&limit={limit}");
    let answer = service.get(&path, key).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    let entries = answer.body["auditLogs"].as_array().expect("entries");
    let got: Vec<_> = entries.iter().map(|entry| entry["id"].as_str().expect("an id")).collect();
    assert_eq!(got, expected, "{path}");
    let pagination = &answer.body["pagination"];
    assert_eq!(pagination["total"], window.len(), "{path}");
    assert_eq!(pagination["offset"], own - newer, "{path}");
    assert_eq!(pagination["hasMore"], own - newer + expected.len() < window.len(), "{path}");
    own >= limit
}

fn around(backend: Backend) {
    run(async {
        let Some(database) = trail::database(backend).await else {
            return;
        };
        let service = Service::start(database).await;
        let key = service.key(Some(ORGANIZATION), &[Scope::Read]).await;
        let (rows, mut random) = (model(), StdRng::seed_from_u64(seed()));
        let mut missed = 0;
        for _ in 0..ASKED {
            let place = random.random_range(0..rows.len());
            let minutes = *[1, 10, 1_440].choose(&mut random).expect("minutes");
            let limit = *[1, 10, 50, 100].choose(&mut random).expect("limits");
            missed += usize::from(ask(&service, &key, &rows, place, (minutes, limit)).await);
        }
        say(&format!("{backend:?}: {missed} of {ASKED} entries are not among the newest around them"));
        assert!(missed > ASKED / 10, "the windows are larger than a page");
    });
}

#[test]
fn entries_around_random_entries_are_those_of_brute_force_sqlite() {
    around(Backend::Sqlite);
}

#[test]
fn entries_around_random_entries_are_those_of_brute_force_postgres() {
    around(Backend::Postgres);
}
