//! The entries of the sample trail in the forms that brute force tests, parsed once for all tests.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde_json::Value;

use super::{Row, newest_first};
use crate::search::model::{ChangedField, NAMES, Row as Content};
use crate::search::values::{add_texts, fold};
use crate::support::trail::lines;

/// A line of the trail.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub id: String,
    pub timestamp: String,
    pub resource_type: String,
    pub resource_id: String,
    resource_name: String,
    pub action: String,
    pub user_id: String,
    user_name: String,
    user_email: String,
    changes: Vec<LineChange>,
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LineChange {
    field: String,
    old_value: Value,
    new_value: Value,
}

impl Line {
    pub fn parse(line: &str) -> Self {
        serde_json::from_str(line).expect("an entry")
    }

    /// The part that searches test. The time of its recording, which each import sets, is not known here.
    fn content(self, row: &Row) -> Content {
        let Self {
            id,
            timestamp: _,
            resource_type: _,
            resource_id,
            resource_name,
            action: _,
            user_id,
            user_name,
            user_email,
            changes,
            metadata,
        } = self;
        let of_facts = vec![id.clone(), resource_id, user_id];
        let mut of_actor = vec![user_name.clone(), user_email.clone()];
        of_actor.extend(metadata.iter().flat_map(|(key, value)| [key.clone(), value.clone()]));
        let mut of_content = vec![resource_name.clone()];
        for LineChange { field, old_value, new_value } in &changes {
            of_content.push(field.clone());
            add_texts(old_value, &mut of_content);
            add_texts(new_value, &mut of_content);
        }
        // Most changes of an entry have few different values.
        of_content.sort_unstable();
        of_content.dedup();
        let change =
            |LineChange { field, old_value, new_value }| ChangedField { field, old: old_value, new: new_value };
        Content {
            id,
            seq: row.seq,
            time: row.timestamp,
            recorded: 0,
            facts: BTreeMap::new(),
            names: NAMES.into_iter().zip([user_name, user_email, resource_name]).collect(),
            metadata,
            changes: changes.into_iter().map(change).collect(),
            texts: [of_facts, of_actor, of_content].map(|texts| texts.iter().map(|text| fold(text)).collect()),
        }
    }
}

/// All entries of the trail.
pub struct Trail {
    /// The fields that lists filter by. Newest first.
    pub rows: Vec<Row>,
    /// The contents that searches test, by number.
    pub contents: Vec<Arc<Content>>,
}

impl Trail {
    pub fn parsed() -> &'static Self {
        static TRAIL: OnceLock<Trail> = OnceLock::new();
        TRAIL.get_or_init(|| {
            let parsed = lines().iter().zip(1..).map(|(line, seq)| {
                let line = Line::parse(line);
                let row = Row::of(&line, seq);
                let content = Arc::new(line.content(&row));
                (row, content)
            });
            let (mut rows, contents): (Vec<_>, Vec<_>) = parsed.unzip();
            newest_first(&mut rows);
            Self { rows, contents }
        })
    }

    pub fn content(&self, row: &Row) -> &Content {
        &self.contents[place(row)]
    }
}

/// The place of a row among values that are sorted by number.
pub fn place(row: &Row) -> usize {
    usize::try_from(row.seq - 1).expect("numbers begin with 1")
}
