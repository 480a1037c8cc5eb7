//! The bytes that requests and responses hold at once, in the whole process: each is small enough, and a thousand of
//! the largest are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes may be held. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

/// Bytes that are held, until this is dropped.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    bytes: AtomicUsize,
}

impl Budget {
    /// Of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// Whether nothing more should be begun.
    pub fn is_spent(&self) -> bool {
        self.used() >= self.limit
    }

    /// The bytes that are held.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Holds `bytes`, also beyond the limit: what is there already takes its memory whatever we say, and work that is
    /// done should not be lost. What comes after is refused.
    pub fn hold(&self, bytes: usize) -> Held {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Held { budget: self.clone(), bytes: AtomicUsize::new(bytes) }
    }
}

impl Held {
    /// Holds `bytes` more; `false` where they are not left.
    pub fn grow(&self, bytes: usize) -> bool {
        let room = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.budget.limit);
        let is_room = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if is_room {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        is_room
    }

    /// Parts with `bytes` of it, or with what there is.
    pub fn split(&mut self, bytes: usize) -> Self {
        let held = self.bytes.get_mut();
        let bytes = bytes.min(*held);
        *held -= bytes;
        Self { budget: self.budget.clone(), bytes: AtomicUsize::new(bytes) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back() {
        let budget = Budget::new(100);
        let request = budget.hold(0);
        assert!(request.grow(60) && !request.grow(41) && request.grow(40));
        assert!(budget.is_spent());
        let mut response = budget.hold(50);
        assert_eq!(budget.used(), 150);
        drop(request);
        let mut part = response.split(20);
        assert_eq!(budget.used(), 50);
        drop(response);
        assert_eq!(budget.used(), 20);
        drop(part.split(30));
        assert_eq!(budget.used(), 0);
        drop(part);
        assert_eq!(budget.used(), 0);
    }
}
