//! Records acts of administration in the log of the service, inside the transactions of the acts. `ingest` numbers and
//! hashes all other entries; it cannot, because it is above the store.

use anyhow::anyhow;

use crate::domain::{
    Change, Entry, Erased, Invalid, NewEntry, OrganizationId, Random, ServiceEntry, Timestamp, leaf_hash,
};
use crate::error::{Error, Result};
use crate::store::admin::catalogue;
use crate::store::entries::append::Append;
use crate::store::model::HashedEntry;
use auditlog_verify::merkle::{SERVICE, Salts};

impl Append {
    /// Appends an entry of this `kind` for each of `acts` to the log of the service, which begins with its first entry.
    /// Call it before the transaction changes rows: it waits for the lock of the head, and must then hold no other lock
    /// of a row. Errors: `StorageUnavailable` after ten seconds.
    pub(in crate::store) async fn record(
        &mut self,
        kind: ServiceEntry,
        acts: Vec<Vec<Change>>,
        now: Timestamp,
        random: &Random,
    ) -> Result<()> {
        let organization = OrganizationId::service();
        let mut head = self.wait_for_head(&organization, &random.hex::<16>(), now).await?;
        let catalogue = catalogue::read(self.transaction()).await?;
        let recorded_at = now.max(head.last_recorded_at);
        let (mut entries, mut completed) = (Vec::with_capacity(acts.len()), Vec::new());
        for (seq, changes) in (head.seq + 1..).zip(acts) {
            let new = kind.about(&organization, None, changes, &catalogue, random).map_err(unrecorded)?;
            let NewEntry { timestamp: _, content } = new;
            let writer_key_id = SERVICE.to_owned();
            let erased = Erased::default();
            // A service entry has the same timestamp and `recorded_at`; verifiers check this.
            let entry = Entry { seq, timestamp: recorded_at, recorded_at, writer_key_id, erased, content };
            let salts = Salts::from_bytes(random.bytes());
            let leaf = leaf_hash(&entry, &head.log_id, &catalogue, &salts);
            let leaf = leaf.ok_or_else(|| Error::Internal(anyhow!("the catalogue lacks a name of ours")))?;
            completed.extend(head.edge.append(leaf));
            entries.push((&organization, HashedEntry { entry, salts, leaf }));
        }
        self.insert(&entries).await?;
        self.complete(&[(&organization, completed)]).await?;
        self.move_heads(&[(&organization, recorded_at, &head.edge)]).await
    }
}

fn unrecorded(why: Invalid) -> Error {
    Error::Internal(anyhow::Error::new(why).context("an act of administration cannot be recorded"))
}
