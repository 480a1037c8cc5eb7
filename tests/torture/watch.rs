//! Readers that run throughout. Two page through lists by cursor; each walk must see every entry that was there at its
//! start exactly once. One collects every checkpoint that the service shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use auditlog::domain::Timestamp;
use auditlog::grpc::pb::{AuditLogFilter, GetCheckpointRequest, ListAuditLogsRequest};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::client::{Trouble, trouble};
use crate::entry::ACTIONS;
use crate::load::{ORGANIZATIONS, Shared};

const WALKERS: u64 = 2;
const COLLECTS: Duration = Duration::from_millis(150);
/// The pause between two walks, so that the readers do not only read a small log.
const RESTS: Duration = Duration::from_millis(20);
const RETRY: Duration = Duration::from_millis(50);

/// A walk that reached the last page.
pub struct Walk {
    pub organization: &'static str,
    pub action: Option<&'static str>,
    /// The total that the first page reported.
    pub total: i64,
    /// Timestamp and sequence number of each entry, in page order.
    pub seen: Vec<(i64, i64)>,
    /// Pages that were requested again because of a fault.
    pub interrupted: u64,
}

/// The results of the readers.
#[derive(Default)]
pub struct Seen {
    pub walks: Vec<Walk>,
    /// Each signed note, with its organization.
    pub checkpoints: BTreeSet<(&'static str, String)>,
}

/// The running readers.
pub struct Watch {
    pub seen: Arc<Mutex<Seen>>,
    readers: JoinSet<()>,
}

impl Watch {
    pub fn start(shared: &Arc<Shared>, seed: u64) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let mut readers = JoinSet::new();
        for number in 0..WALKERS {
            readers.spawn(walk_on(Arc::clone(shared), Arc::clone(&seen), StdRng::seed_from_u64(seed + number)));
        }
        readers.spawn(collect(Arc::clone(shared), Arc::clone(&seen)));
        Self { seen, readers }
    }

    /// Waits until the current walks end.
    pub async fn settle(&mut self, limit: Duration) -> anyhow::Result<()> {
        let all = async {
            while let Some(ended) = self.readers.join_next().await {
                ended.context("a reader panicked")?;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(limit, all).await.context("a walk did not end")?
    }
}

/// Starts one walk after the other until the load ends.
async fn walk_on(shared: Arc<Shared>, seen: Arc<Mutex<Seen>>, mut random: StdRng) {
    while !shared.is_ending() {
        let organization = *ORGANIZATIONS.choose(&mut random).expect("some");
        let action = random.random_bool(0.4).then(|| *ACTIONS.choose(&mut random).expect("some"));
        let walk = Walk { organization, action, total: 0, seen: Vec::new(), interrupted: 0 };
        match walk_through(&shared, walk, &mut random).await {
            Some(walk) => seen.lock().expect("no panic").walks.push(walk),
            None => tokio::time::sleep(RETRY).await,
        }
        tokio::time::sleep(RESTS).await;
    }
}

/// `None` if the organization has no entries yet, or if a page is wrong, which becomes a finding.
async fn walk_through(shared: &Shared, mut walk: Walk, random: &mut StdRng) -> Option<Walk> {
    let mut cursor = None;
    let mut turn = random.random_range(0..100);
    loop {
        let actions = walk.action.iter().map(|action| (*action).to_owned()).collect();
        let filter = Some(AuditLogFilter { actions, ..Default::default() });
        let limit = Some(random.random_range(30..=100));
        let organization_id = walk.organization.to_owned();
        let request =
            ListAuditLogsRequest { organization_id, filter, limit, cursor: cursor.clone(), ..Default::default() };
        let client = shared.target(turn);
        let page = match client.audit_logs().list_audit_logs(client.request(request)).await {
            Ok(page) => page.into_inner(),
            Err(status) => match trouble(&status) {
                Trouble::Strange(what) => {
                    // No client has written to the organization yet.
                    if cursor.is_some() || !what.starts_with("ORGANIZATION_NOT_FOUND") {
                        shared.strange(format!("a walk: {what}"));
                    }
                    return None;
                }
                known => {
                    shared.trouble(&known);
                    walk.interrupted += 1;
                    turn += 1;
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            },
        };
        let pagination = page.pagination.unwrap_or_default();
        if cursor.is_some() && (pagination.total, pagination.offset) != (walk.total, walk.seen.len() as i64) {
            shared.strange(format!("a walk of {} after {} entries got {pagination:?}", walk.total, walk.seen.len()));
            return None;
        }
        walk.total = pagination.total;
        for log in page.audit_logs {
            let time = log.timestamp.unwrap_or_default();
            let time = Timestamp::from_parts(time.seconds, time.nanos).map_or(i64::MIN, Timestamp::micros);
            walk.seen.push((time, log.sequence));
        }
        cursor = pagination.next_cursor;
        if cursor.is_none() {
            return Some(walk);
        }
    }
}

/// Collects every checkpoint that the service shows.
async fn collect(shared: Arc<Shared>, seen: Arc<Mutex<Seen>>) {
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    let mut turn = 0;
    while !shared.is_ending() {
        for organization in ORGANIZATIONS {
            turn += 1;
            let client = shared.target(turn);
            let request = client.request(GetCheckpointRequest { organization_id: organization.to_owned() });
            match client.integrity().get_checkpoint(request).await {
                Ok(answer) => {
                    let note = answer.into_inner().checkpoint;
                    let size = note.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or(-1);
                    let before = last.insert(organization, size).unwrap_or(0);
                    if size < before {
                        shared.strange(format!("{organization}: a checkpoint of {size} after one of {before}"));
                    }
                    seen.lock().expect("no panic").checkpoints.insert((organization, note));
                }
                Err(status) => match trouble(&status) {
                    Trouble::Strange(what) if !what.contains("_NOT_FOUND") => {
                        shared.strange(format!("a checkpoint: {what}"))
                    }
                    Trouble::Strange(_) => {}
                    known => shared.trouble(&known),
                },
            }
        }
        tokio::time::sleep(COLLECTS).await;
    }
}
