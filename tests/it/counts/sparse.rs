//! Rare actions of a frequent user are found between the running counts that have them.

use auditlog::counts::EntryCounter;
use auditlog::domain::{Action, Filter, Identifier, Limit, Offset, Seq, Timestamp};
use auditlog::query::{Page, Query, Start};
use auditlog::store::Store;

use super::model::{Log, ORGANIZATION, RARE, Row};
use crate::support::{Backend, Database, on_every_database};

/// Entries of one user, a second apart: enough that pages of two or more rare ones use running counts.
const ENTRIES: Seq = 20_000;
const SECOND: i64 = 1_000_000;

fn row(seq: Seq, second: i64, action: u8) -> Row {
    Row { time: second * SECOND, seq, user: 0, resource: 0, kind: 0, action, outcome: None }
}

/// Writes one rare entry at each of these seconds.
async fn write_rare(log: &Log, store: &Store, seconds: &[i64]) {
    let rows = |head| (head + 1..).zip(seconds).map(|(seq, second)| row(seq, *second, RARE)).collect();
    log.write_rows(store, seconds.len(), rows).await;
}

async fn list(store: &Store, start: Start, limit: i32) -> Page {
    let filter = Filter {
        user_ids: vec![Identifier::parse("u0").expect("an id")],
        actions: vec![Action(i16::from(RARE))],
        ..Filter::default()
    };
    let limit = Limit::parse(Some(limit)).expect("a limit");
    Query::new(store.clone())
        .list("key", &Log::of(ORGANIZATION).organization, &filter, start, limit)
        .await
        .expect("a page")
}

/// The seconds of all rare entries, page by page.
async fn walk(store: &Store, limit: i32) -> Vec<i64> {
    let mut seconds = Vec::new();
    let mut start = Start::Offset(Offset::default());
    loop {
        let page = list(store, start, limit).await;
        assert_eq!(page.offset as usize, seconds.len());
        seconds.extend(page.entries.iter().map(|entry| entry.timestamp.micros() / SECOND));
        match page.next_cursor {
            Some(cursor) => start = Start::Cursor(cursor),
            None => {
                assert_eq!(page.total as usize, seconds.len());
                return seconds;
            }
        }
    }
}

on_every_database! {
    async fn rare_entries_of_a_frequent_user_are_found_counted_or_not(database: &Database) {
        let (store, log) = (database.store().await, Log::of(ORGANIZATION));
        let counter = EntryCounter::new(store.clone());
        for begin in (0..ENTRIES).step_by(2_000) {
            log.write_rows(&store, 2_000, |head| (1..=2_000).map(|n| row(head + n, begin + n, 0)).collect()).await;
        }
        write_rare(&log, &store, &[15, 4_000, 4_001, 19_000]).await;
        counter.count_all(&log.organization, |_| ()).await.expect("counted");
        assert_eq!(walk(&store, 2).await, [19_000, 4_001, 4_000, 15], "by running counts");
        let first = list(&store, Start::Offset(Offset::default()), 2).await;

        write_rare(&log, &store, &[12_345, 3]).await;
        assert_eq!(walk(&store, 4).await, [19_000, 12_345, 4_001, 4_000, 15, 3], "some are not counted");
        counter.count_all(&log.organization, |_| ()).await.expect("counted");
        assert_eq!(walk(&store, 4).await, [19_000, 12_345, 4_001, 4_000, 15, 3], "all are counted");

        write_rare(&log, &store, &[3_999, 3_998, 3_997]).await;
        counter.count_all(&log.organization, |_| ()).await.expect("counted");
        let second = list(&store, Start::Cursor(first.next_cursor.expect("a second page")), 2).await;
        let seen: Vec<_> = second.entries.iter().map(|entry| entry.timestamp).collect();
        assert_eq!(seen, [4_000, 15].map(|second| Timestamp::saturating(second * SECOND)), "an older walk goes on");
    }
}
