//! Limits log lines that peers can cause.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(10);

/// Limits log lines: within ten seconds, at most `lines` of them, one per subject.
#[derive(Debug)]
pub struct LineLimit {
    lines: usize,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    begun: Option<Instant>,
    /// At most `lines` of them.
    subjects: BTreeSet<String>,
    left_out: u64,
}

impl LineLimit {
    /// Allows `lines` log lines within ten seconds.
    pub const fn new(lines: usize) -> Self {
        let window = Window { begun: None, subjects: BTreeSet::new(), left_out: 0 };
        Self { lines, window: Mutex::new(window) }
    }

    /// `Some` for the first line about `subject` within ten seconds, until the limit is reached. Its value is the
    /// number of lines left out since the last line. `None` means: leave this line out.
    pub fn admit(&self, subject: &str) -> Option<u64> {
        self.admit_at(subject, Instant::now())
    }

    fn admit_at(&self, subject: &str, now: Instant) -> Option<u64> {
        // No code under the lock can panic.
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.begun.is_none_or(|begun| now.duration_since(begun) >= WINDOW) {
            window.begun = Some(now);
            window.subjects.clear();
        }
        if window.subjects.len() >= self.lines || window.subjects.contains(subject) {
            window.left_out += 1;
            return None;
        }
        window.subjects.insert(subject.to_owned());
        Some(std::mem::take(&mut window.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_each_subject_comes_and_the_rest_is_counted() {
        let (limit, begun) = (LineLimit::new(2), Instant::now());
        assert_eq!(limit.admit_at("a", begun), Some(0));
        assert_eq!(limit.admit_at("a", begun), None);
        assert_eq!(limit.admit_at("b", begun), Some(1));
        for other in 0..1_000 {
            assert_eq!(limit.admit_at(&format!("{other}"), begun), None, "there is no room");
        }
        assert_eq!(limit.admit_at("a", begun + WINDOW), Some(1_000));
        assert_eq!(limit.admit_at("a", begun + WINDOW), None);
        assert_eq!(limit.admit_at("b", begun + 2 * WINDOW), Some(1));
    }
}
