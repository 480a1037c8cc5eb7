//! The index of names: it has the names of counted entries that are not erased, and finds the candidates of searches by
//! name.

use std::time::Duration;

use auditlog::counts::EntryCounter;
use auditlog::domain::Group;
use serde_json::json;

use super::started::{Started, entry};
use crate::support::database::{execute, numbers};
use crate::support::erasure::{ORG, both, of};
use crate::support::ingest::organization;
use crate::support::{Backend, Database, on_every_database};

/// The erasures beside which entries are counted.
const RACES: usize = 40;

/// An entry of a user, with the user's name and address, and that of the resource.
fn of_person(id: &str, user: &str, name: &str) -> String {
    let members = format!(r#","userName":"{name}","userEmail":"{user}@example.com","resourceName":"Bot of {name}""#);
    entry(id, &members).replace("uid_1", user).replace("rule_1", &format!("rule_{user}"))
}

fn counter(started: &Started) -> EntryCounter {
    EntryCounter::new(started.service.store.clone())
}

async fn count(started: &Started) {
    counter(started).count_all(&organization(ORG), |_| ()).await.expect("counted");
}

/// The numbers of entries of the names in the index, which are compared with the entries.
async fn index(started: &Started, database: &Database) -> Vec<i64> {
    let checked = counter(started).check(&organization(ORG), |_| ()).await.expect("checked");
    assert_eq!(checked.faults, []);
    numbers(database, "SELECT entries FROM names ORDER BY field, folded, key").await
}

on_every_database! {
    async fn the_index_has_the_names_of_counted_entries_until_the_last_one_is_erased(database: &Database) {
        let entries = [("log_1", "ada", "Ada L"), ("log_2", "ada", "ADA L"), ("log_3", "bob", "Ada L"), ("log_4", "ada", "Ada")];
        let started = Started::with(database, &entries.map(|(id, user, name)| of_person(id, user, name))).await;
        started.erase(&["log_4".to_owned()], of(&[Group::Actor])).await;
        assert_eq!(index(&started, database).await, [] as [i64; 0], "nothing is counted");
        count(&started).await;
        // Names of users: two of ada, one of bob. Addresses likewise. Names of resources, of which one is not erased.
        assert_eq!(index(&started, database).await, [2, 1, 2, 1, 1, 2, 1]);
        assert_eq!(started.find(&[("userName", "ada*")]).await, ["log_3", "log_2", "log_1"]);
        started.erase(&["log_1".to_owned()], of(&[Group::Actor])).await;
        assert_eq!(index(&started, database).await, [1, 1, 1, 1, 1, 2, 1], "log_2 still has them");
        assert_eq!(started.find(&[("userEmail", "ADA@example.com")]).await, ["log_2"]);
        started.erase(&["log_2".to_owned(), "log_1".to_owned()], both()).await;
        started.erase(&["log_3".to_owned()], of(&[Group::Content])).await;
        assert_eq!(index(&started, database).await, [1, 1, 1], "the name and the address of bob, and of a resource the last");
        counter(&started).discard(&organization(ORG)).await.expect("discarded");
        assert_eq!(index(&started, database).await, [] as [i64; 0]);
        count(&started).await;
        assert_eq!(index(&started, database).await, [1, 1, 1], "counting finds no erased name");
        assert!(started.find(&[("userName", "ada l"), ("userId", "ada")]).await.is_empty());
    }

    async fn names_in_the_index_and_of_entries_that_are_not_counted_yet_are_found(database: &Database) {
        let started = Started::with(database, &[of_person("log_1", "ada", "Ada"), of_person("log_2", "bob", "Bob")]).await;
        count(&started).await;
        started.write(&[of_person("log_3", "eve", "Ada"), of_person("log_4", "bob", "Robert"), of_person("log_5", "ada", "Lovelace")]).await;
        for (query, found) in [
            (&[("userName", "ada")][..], &["log_3", "log_1"][..]),
            (&[("userName", "bo*")], &["log_2"]),
            (&[("userName", "bo*"), ("userEmail", "bob@*")], &["log_2"]),
            (&[("userName", "robert"), ("userEmail", "ada@*")], &[]),
            (&[("userEmail", "bob@example.com")], &["log_4", "log_2"]),
            (&[("userEmail", "bob@example.com"), ("userId", "ada")], &[]),
            (&[("userEmail", "bob@example.com"), ("userId", "ada"), ("userId", "bob")], &["log_4", "log_2"]),
            (&[("resourceName", "bot of a*")], &["log_3", "log_1"]),
            (&[("resourceName", "bot of ada"), ("resourceId", "rule_eve")], &["log_3"]),
            (&[("resourceName", "bot of ada"), ("resourceType", "thread")], &[]),
            (&[("resourceName", "bot of lovelace"), ("userName", "lovelace"), ("resourceType", "rule")], &["log_5"]),
            (&[("resourceName", "nobody")], &[]),
        ] {
            assert_eq!(started.find(query).await, found, "{query:?}");
        }
        let path = "/v1/org_a/audit-log-counts?by=userId&userName=ada";
        let counts = started.service.get(path, &started.key).await.body;
        assert_eq!((&counts["total"], &counts["counts"][0]["buckets"][0]["count"]), (&json!(2), &json!(1)), "{counts}");
    }

    async fn counting_beside_an_erasure_leaves_no_erased_name_in_the_index(database: &Database) {
        let started = Started::with(database, &[]).await;
        for round in 0..RACES {
            let [one, other] = [0, 1].map(|place| format!("log_{}", 2 * round + place));
            started.write(&[of_person(&one, "ada", &one), of_person(&other, "ada", &other)]).await;
            let later = async {
                // Counting and the erasure take about as long, so that either may come first.
                tokio::time::sleep(Duration::from_micros(300 * (round as u64 % 8))).await;
                started.erase(std::slice::from_ref(&one), both()).await;
            };
            tokio::join!(count(&started), later);
        }
        // Counts what an erasure kept from being counted.
        count(&started).await;
        let names = index(&started, database).await;
        assert_eq!(names.iter().filter(|entries| **entries == 1).count(), 2 * RACES, "a name and that of the resource of each other entry");
        assert_eq!(names.len(), 2 * RACES + 1, "and one address of all");
    }

    async fn a_wrong_index_of_names_is_found_and_rebuilt(database: &Database) {
        let started = Started::with(database, &[of_person("log_1", "ada", "Ada"), of_person("log_2", "bob", "Bob")]).await;
        count(&started).await;
        for damage in [
            "DELETE FROM names WHERE key = 'uada'",
            "UPDATE names SET entries = 2 WHERE key = 'uada'",
            "UPDATE names SET key = 'ueve' WHERE key = 'uada'",
            "UPDATE names SET field = 7 WHERE key = 'uada' AND field = 0",
        ] {
            execute(database, damage).await;
            let checked = counter(&started).check(&organization(ORG), |_| ()).await.expect("checked");
            let names = if damage.contains("field") { 1 } else { 2 };
            let expected = format!("has {names} names that are wrong or missing in the index of names");
            assert_eq!(checked.faults.iter().map(|fault| fault.what.as_str()).collect::<Vec<_>>(), [expected.as_str()], "{damage}");
            counter(&started).discard(&organization(ORG)).await.expect("discarded");
            count(&started).await;
            assert_eq!(index(&started, database).await, [1; 6], "{damage}");
        }
    }
}
