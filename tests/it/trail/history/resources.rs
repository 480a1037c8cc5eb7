//! The entries of the trail by resource, with the texts of their values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use auditlog::domain::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::support::trail::lines;

/// The type and the id of a resource.
pub type Resource = (&'static str, &'static str);

/// An entry of a resource.
pub struct PastEntry {
    pub seq: i64,
    /// Microseconds since 1970.
    pub time: i64,
    pub action: &'static str,
    pub changes: Vec<PastChange<'static>>,
}

/// A change of a field.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastChange<'l> {
    #[serde(borrow)]
    pub field: Cow<'l, str>,
    #[serde(borrow)]
    old_value: &'l RawValue,
    #[serde(borrow)]
    new_value: &'l RawValue,
}

impl<'l> PastChange<'l> {
    /// The JSON text of the old value.
    pub fn old_json(&self) -> &'l str {
        self.old_value.get()
    }

    /// The JSON text of the new value.
    pub fn new_json(&self) -> &'l str {
        self.new_value.get()
    }
}

/// The parts of a line that histories use.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HistoryLine<'l> {
    timestamp: &'l str,
    resource_type: &'l str,
    resource_id: &'l str,
    action: &'l str,
    #[serde(borrow)]
    changes: Vec<PastChange<'l>>,
}

/// All resources with their entries, which are sorted by time and then by number.
pub fn resources() -> &'static BTreeMap<Resource, Vec<PastEntry>> {
    static RESOURCES: OnceLock<BTreeMap<Resource, Vec<PastEntry>>> = OnceLock::new();
    RESOURCES.get_or_init(|| {
        let mut resources = BTreeMap::<Resource, Vec<PastEntry>>::new();
        for (line, seq) in lines().iter().zip(1..) {
            let HistoryLine { timestamp, resource_type, resource_id, action, changes } =
                serde_json::from_str(line).expect("an entry");
            let time = Timestamp::parse(timestamp).expect("a time").micros();
            let entry = PastEntry { seq, time, action, changes };
            resources.entry((resource_type, resource_id)).or_default().push(entry);
        }
        for entries in resources.values_mut() {
            entries.sort_by_key(|entry| (entry.time, entry.seq));
        }
        resources
    })
}
