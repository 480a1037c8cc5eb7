//! A cache of the catalogue. Operators change the catalogue while services run, so it is reloaded every few seconds,
//! and whenever an entry has an unknown code.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use crate::domain::{Catalogue, Entry};
use crate::error::{Error, Result};
use crate::store::Store;

/// How long a cached catalogue is used. After this time at the latest, a new type is known and a removed type is
/// refused.
pub const CACHE_TTL: Duration = Duration::from_secs(5);

/// Caches the catalogue for the other modules.
#[derive(Clone)]
pub struct Catalogues {
    store: Store,
    recent: Cache<(), Arc<Catalogue>>,
}

impl Catalogues {
    /// A cache in front of `store`.
    pub fn new(store: Store) -> Self {
        Self { store, recent: Cache::builder().max_capacity(1).time_to_live(CACHE_TTL).build() }
    }

    /// The catalogue, at most five seconds old.
    pub async fn current(&self) -> Result<Arc<Catalogue>> {
        let read = async { Ok::<_, Error>(Arc::new(self.store.catalogue().await?)) };
        self.recent.try_get_with((), read).await.map_err(|error| error.clone_with_context("reading the catalogue"))
    }

    /// Returns `current`, or a newer catalogue if `current` does not name all types and actions of `entries`.
    pub async fn naming(&self, current: Arc<Catalogue>, entries: &[Entry]) -> Result<Arc<Catalogue>> {
        let names = |catalogue: &Catalogue, Entry { content, .. }: &Entry| {
            catalogue.resource_type_name(content.resource_type).is_some()
                && catalogue.action_name(content.action).is_some()
        };
        self.complete(current, |catalogue| entries.iter().all(|entry| names(catalogue, entry))).await
    }

    /// Returns `current`, or a newer catalogue if `is_complete` is false of `current`.
    pub async fn complete(
        &self,
        current: Arc<Catalogue>,
        is_complete: impl FnOnce(&Catalogue) -> bool,
    ) -> Result<Arc<Catalogue>> {
        if is_complete(&current) {
            return Ok(current);
        }
        // Not through the cache: it may be about to return an older read.
        let catalogue = Arc::new(self.store.catalogue().await?);
        self.recent.insert((), Arc::clone(&catalogue)).await;
        Ok(catalogue)
    }
}
