//! The check of the whole trail: that of continuity, and the naive one.

use std::sync::OnceLock;

use super::continuity::{FoundBreak, Outcome, compared, unexplained};
use super::naive::NaiveCheck;
use super::resources::{PastEntry, Resource, resources};

/// The check of all resources.
#[derive(Default)]
pub struct TrailCheck {
    pub compared: i64,
    pub not_comparable: i64,
    /// Sorted.
    pub breaks: Vec<FoundBreak<'static>>,
    /// The breaks of the class `order`.
    pub order: usize,
    pub naive: NaiveCheck,
}

impl TrailCheck {
    /// The check, computed once for all tests.
    pub fn of_trail() -> &'static Self {
        static CHECK: OnceLock<TrailCheck> = OnceLock::new();
        CHECK.get_or_init(|| {
            let mut check = Self::default();
            for (resource, entries) in resources() {
                check.add(*resource, entries);
            }
            check.breaks.sort_unstable();
            check.order = check.breaks.iter().filter(|found| found.class == "order").count();
            check
        })
    }

    fn add(&mut self, resource: Resource, entries: &'static [PastEntry]) {
        let entries: Vec<_> = entries.iter().collect();
        let comparisons = compared(&entries);
        let unexplained = unexplained(&entries, &comparisons);
        for comparison in &comparisons {
            match comparison.outcome {
                Outcome::Equal | Outcome::Break => self.compared += 1,
                Outcome::NotComparable => self.not_comparable += 1,
            }
            self.breaks.extend(comparison.found(resource, &unexplained));
        }
        self.naive.add(&entries, &comparisons, &unexplained);
    }
}
