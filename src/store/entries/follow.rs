//! The heads of the logs that this process follows. Each commit of this process raises them at once, and a poll finds
//! the commits of other processes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sea_orm::ConnectionTrait;
use tokio::sync::watch;

use crate::domain::{OrganizationId, Seq};
use crate::error::Result;
use crate::store::sql::Sql;
use crate::store::{Store, dialect};

/// The senders of the followed heads, by organization. One without followers is removed.
type Heads = HashMap<OrganizationId, watch::Sender<Seq>>;

/// The heads of all followed logs.
#[derive(Default)]
pub(in crate::store) struct FollowedHeads(Mutex<Heads>);

/// The head of a log, for one follower. It shows only numbers whose entries are committed.
pub struct FollowedHead {
    organization: OrganizationId,
    head: watch::Receiver<Seq>,
    /// Has the sender of `head`.
    all: Arc<FollowedHeads>,
}

impl FollowedHeads {
    fn lock(&self) -> MutexGuard<'_, Heads> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with the highest number that another follower knows, or 0.
    fn subscribe(self: &Arc<Self>, organization: &OrganizationId) -> FollowedHead {
        let new = || watch::Sender::new(0);
        let head = self.lock().entry(organization.clone()).or_insert_with(new).subscribe();
        FollowedHead { organization: organization.clone(), head, all: Arc::clone(self) }
    }

    /// Wakes the followers of the organizations of committed entries, which come in the order of their numbers. `seq`
    /// is the number of one.
    pub(in crate::store) fn committed<E>(&self, entries: &[(OrganizationId, E)], seq: impl Fn(&E) -> Seq) {
        let heads = self.lock();
        if heads.is_empty() {
            return;
        }
        for run in entries.chunk_by(|(one, _), (other, _)| one == other) {
            if let Some((organization, last)) = run.last() {
                raise(&heads, organization, seq(last));
            }
        }
    }
}

/// Raises the head of `organization`, if it is followed. A head never falls: two commits may be told in either order.
fn raise(heads: &Heads, organization: &OrganizationId, seq: Seq) {
    if let Some(head) = heads.get(organization) {
        head.send_if_modified(|head| {
            let is_higher = seq > *head;
            *head = seq.max(*head);
            is_higher
        });
    }
}

impl FollowedHead {
    /// The highest number that is known to be committed.
    pub fn seq(&self) -> Seq {
        *self.head.borrow()
    }

    /// Waits until a number above `seq` is committed. May be dropped at any time.
    pub async fn passes(&mut self, seq: Seq) {
        // Cannot fail: the sender stays until this is dropped.
        let _ = self.head.wait_for(|head| *head > seq).await;
    }
}

impl Drop for FollowedHead {
    fn drop(&mut self) {
        let mut heads = self.all.lock();
        // Dropped under the lock, so that of two followers that end together, the last one sees that none is left.
        self.head = watch::channel(0).1;
        if heads.get(&self.organization).is_some_and(|head| head.receiver_count() == 0) {
            heads.remove(&self.organization);
        }
    }
}

impl Store {
    /// Follows the head of `organization` from now on; `None` if there is no such organization.
    pub async fn follow(&self, organization: &OrganizationId) -> Result<Option<FollowedHead>> {
        // First, so that no commit falls between.
        let followed = self.followed.subscribe(organization);
        let Some(head) = self.head(organization).await? else { return Ok(None) };
        raise(&self.followed.lock(), organization, head);
        Ok(Some(followed))
    }

    /// The number of followers.
    pub fn followers(&self) -> usize {
        self.followed.lock().values().map(watch::Sender::receiver_count).sum()
    }

    /// Looks for commits of other processes to the followed logs, in one statement for all. Reads nothing without
    /// followers.
    pub async fn poll_followed_heads(&self) -> Result<()> {
        let followed: Vec<_> = self.followed.lock().keys().map(ToString::to_string).collect();
        if followed.is_empty() {
            return Ok(());
        }
        let mut sql = Sql::new(self.readers.get_database_backend());
        let ids = sql.bind(dialect::texts(sql.backend, followed));
        let chosen = dialect::among(sql.backend, "id", &ids);
        let statement = format!("SELECT id, head_seq FROM organizations WHERE {chosen}");
        let rows = self.readers.query_all_raw(sql.statement(statement)).await?;
        for row in rows {
            let (organization, head): (String, Seq) = row.try_get_many_by_index()?;
            raise(&self.followed.lock(), &OrganizationId::stored(organization), head);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn organization(name: &str) -> OrganizationId {
        OrganizationId::parse(name).expect("a name")
    }

    fn committed(heads: &FollowedHeads, entries: &[(&str, Seq)]) {
        let entries: Vec<_> = entries.iter().map(|(name, seq)| (organization(name), *seq)).collect();
        heads.committed(&entries, |seq| *seq);
    }

    #[tokio::test]
    async fn a_commit_wakes_the_followers_of_its_organizations_alone() {
        let heads = Arc::<FollowedHeads>::default();
        let [mut one, mut other] = ["a", "b"].map(|name| heads.subscribe(&organization(name)));
        committed(&heads, &[("a", 4), ("a", 5), ("c", 9)]);
        one.passes(4).await;
        assert_eq!((one.seq(), other.seq()), (5, 0));
        committed(&heads, &[("b", 1), ("a", 3)]);
        other.passes(0).await;
        assert_eq!((one.seq(), other.seq()), (5, 1), "a head never falls");
    }

    #[test]
    fn an_organization_is_followed_until_its_last_follower_goes() {
        let heads = Arc::<FollowedHeads>::default();
        let [one, other] = [(), ()].map(|()| heads.subscribe(&organization("a")));
        committed(&heads, &[("a", 7)]);
        drop(one);
        assert_eq!((other.seq(), heads.lock().len()), (7, 1));
        drop(other);
        assert!(heads.lock().is_empty());
        assert_eq!(heads.subscribe(&organization("a")).seq(), 0);
    }
}
