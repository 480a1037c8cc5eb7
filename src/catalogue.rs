//! The catalogue as it is now. Operators change it while services run, so it is read again every few
//! seconds, and whenever an entry has a code that is not known yet.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use crate::domain::{Catalogue, Entry};
use crate::error::{Error, Result};
use crate::store::Store;

/// How long a catalogue that was read counts as read: what a new type may take to be known, and a removed one to
/// be refused.
pub const FRESH: Duration = Duration::from_secs(5);

/// Gives the catalogue to those who name types and actions.
#[derive(Clone)]
pub struct Catalogues {
    store: Store,
    recent: Cache<(), Arc<Catalogue>>,
}

impl Catalogues {
    /// Reads from `store`.
    pub fn new(store: Store) -> Self {
        Self { store, recent: Cache::builder().max_capacity(1).time_to_live(FRESH).build() }
    }

    /// The catalogue of at most five seconds ago.
    pub async fn current(&self) -> Result<Arc<Catalogue>> {
        let read = async { Ok::<_, Error>(Arc::new(self.store.catalogue().await?)) };
        self.recent.try_get_with((), read).await.map_err(|error| error.again("reading the catalogue"))
    }

    /// `current`, or a newer one if `entries` have types or actions that it does not name.
    pub async fn naming(&self, current: Arc<Catalogue>, entries: &[Entry]) -> Result<Arc<Catalogue>> {
        let is_named = |Entry { content, .. }: &Entry| {
            current.resource_type_name(content.resource_type).is_some() && current.action_name(content.action).is_some()
        };
        if entries.iter().all(is_named) {
            return Ok(current);
        }
        // Not through the cache, which may be about to give what was read before.
        let catalogue = Arc::new(self.store.catalogue().await?);
        self.recent.insert((), Arc::clone(&catalogue)).await;
        Ok(catalogue)
    }
}
