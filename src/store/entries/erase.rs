//! Erasures: the values to erase, the transaction that erases them, and the removal from the database files.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DbBackend, IdenStatic, Iterable, Statement};
use serde_json::json;

use crate::domain::{CountKey, EntryId, Erased, Group, OrganizationId, Position, Seq, Timestamp};
use crate::error::{Error, Result};
use crate::store::entities::audit_log::{self, Column, ColumnErasure};
use crate::store::entries::append::Append;
use crate::store::model::HashedEntry;
use crate::store::sql::{IndexScan, Sql, number, prepared, text};
use crate::store::{Store, dialect, rows};
use auditlog_verify::merkle::{GroupHash, SERVICE, Salt};

/// A number of entries and of groups to erase, or erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErasureCount {
    /// The number of entries.
    pub entries: i64,
    /// The number of groups of values.
    pub groups: i64,
}

/// The hash of an erased group of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasedGroupHash {
    /// The number of its entry.
    pub seq: Seq,
    /// The group.
    pub group: Group,
    /// The group's hash, which is in the entry's leaf.
    pub hash: GroupHash,
}

impl Store {
    /// Whether the database allows this store to erase.
    pub async fn may_erase(&self) -> Result<bool> {
        let erasable = Column::iter().filter(|column| column.erasure() != ColumnErasure::Never);
        let names: Vec<_> = erasable.map(|column| column.as_str()).collect();
        let backend = self.erasers().get_database_backend();
        let Some(statement) = dialect::may_change(backend, "audit_logs", &names) else { return Ok(true) };
        let row = self.erasers().query_one_raw(statement).await?;
        Ok(row.map_or(Ok(false), |row| row.try_get_by_index(0))?)
    }

    /// Begins an append that may also erase values.
    pub async fn erase(&self) -> Result<Append> {
        self.begin(self.erasers()).await
    }

    /// Whether the log of `organization` has erasures. Waits for erasures under way, and blocks new ones meanwhile.
    pub async fn has_erasures(&self, organization: &OrganizationId) -> Result<bool> {
        let append = self.append().await?;
        let found = append.has_erasures(organization).await;
        append.roll_back().await?;
        found
    }

    /// The entries that exist, by their ids in `ids`: their numbers, and the groups that are erased already.
    pub async fn erasable(
        &self,
        organization: &OrganizationId,
        ids: &[EntryId],
    ) -> Result<HashMap<EntryId, (Seq, Erased)>> {
        let mut sql = Sql::of(self.readers.get_database_backend(), organization);
        let k = sql.rows(ids.iter().map(|id| json!([id.as_str()])).collect());
        let entry = dialect::entry(sql.backend, "a", "$1", "id", &text("k", 0));
        let statement = format!("SELECT a.seq, a.erased, a.id FROM {k} {entry}");
        let mut found = HashMap::with_capacity(ids.len());
        for row in self.readers.query_all_raw(sql.statement(statement)).await? {
            let (seq, erased, id): (_, _, String) = row.try_get_many_by_index()?;
            found.insert(EntryId::stored(id), (seq, Erased(erased)));
        }
        Ok(found)
    }

    /// At most `limit` entries of `key` after `after` that still have the values of `group`, in list order, oldest
    /// first. Service entries are left out.
    pub async fn unerased(
        &self,
        organization: &OrganizationId,
        key: &CountKey,
        group: Group,
        after: Position,
        limit: i64,
    ) -> Result<Vec<Position>> {
        let mut sql = Sql::of(self.readers.get_database_backend(), organization);
        let found = unerased(&mut sql, key, &[group]);
        let (timestamp, seq) = (sql.bind(after.timestamp.micros()), sql.bind(after.seq));
        let limit = sql.bind(limit);
        let statement = format!(
            "SELECT a.timestamp, a.seq {found} AND (a.timestamp, a.seq) > ({timestamp}, {seq}) \
             ORDER BY a.timestamp, a.seq LIMIT {limit}"
        );
        let position = |row: &sea_orm::QueryResult| {
            let (timestamp, seq) = row.try_get_many_by_index()?;
            Ok(Position { timestamp: Timestamp::saturating(timestamp), seq })
        };
        self.readers.query_all_raw(sql.statement(statement)).await?.iter().map(position).collect()
    }

    /// The number of entries of `key` that still have the values of all of `groups`. Service entries are not counted.
    /// With `user`, counts only entries by that user.
    pub async fn count_unerased(
        &self,
        organization: &OrganizationId,
        key: &CountKey,
        groups: &[Group],
        user: Option<&str>,
    ) -> Result<i64> {
        let mut sql = Sql::of(self.readers.get_database_backend(), organization);
        let found = unerased(&mut sql, key, groups);
        let own = match user {
            Some(user) => format!(" AND {}", dialect::one(sql.backend, Column::UserId, &sql.bind(user))),
            None => String::new(),
        };
        let row = self.readers.query_one_raw(sql.statement(format!("SELECT count(*) {found}{own}"))).await?;
        Ok(row.map_or(Ok(0), |row| row.try_get_by_index(0))?)
    }

    /// Removes erased values from the database files. `Some(false)` if readers prevent it; it waits for them as long as
    /// for any lock. `None` on PostgreSQL, where the owner runs VACUUM FULL.
    pub async fn purge(&self) -> Result<Option<bool>> {
        let Some(statement) = dialect::purge(self.erasers().get_database_backend()) else { return Ok(None) };
        let row = self.erasers().query_one_raw(statement).await?;
        let is_busy: i32 = row.map_or(Ok(1), |row| row.try_get_by_index(0))?;
        Ok(Some(is_busy == 0))
    }
}

/// `FROM audit_logs a WHERE …`: the entries of `key` that still have the values of all of `groups`.
fn unerased(sql: &mut Sql, key: &CountKey, groups: &[Group]) -> String {
    let streams = IndexScan::from(key.clone());
    let (index, only) = (dialect::indexed_by(sql.backend, streams.index()), streams.only(sql).unwrap_or_default());
    let (Erased(bits), service) = (groups.iter().copied().collect(), sql.bind(SERVICE));
    let bits = sql.bind(bits);
    format!(
        "FROM audit_logs a {index} WHERE a.organization_id = $1{only} AND a.erased & {bits} = 0 \
         AND a.writer_key_id <> {service}"
    )
}

impl Append {
    async fn has_erasures(&self, organization: &OrganizationId) -> Result<bool> {
        // For a missing organization, this creates a row with an empty log id, which the rollback removes.
        self.wait_for_head(organization, "", Timestamp::MIN).await?;
        let statement = "SELECT 1 FROM erasures WHERE organization_id = $1 LIMIT 1".to_owned();
        Ok(!self.query(self.sql(organization).statement(statement)).await?.is_empty())
    }

    /// The entries with these numbers, in no order. `Err` has the number of an entry that cannot be read.
    pub async fn numbered(
        &self,
        organization: &OrganizationId,
        seqs: &[Seq],
    ) -> Result<Vec<std::result::Result<HashedEntry, Seq>>> {
        let mut sql = self.sql(organization);
        let k = sql.rows(seqs.iter().map(|seq| json!([seq])).collect());
        let entry = dialect::entry(sql.backend, "a", "$1", "seq", &number("k", 0));
        let statement = format!("SELECT {} FROM {k} {entry}", audit_log::all_columns("a"));
        let rows = self.query(sql.statement(statement)).await?;
        let read = |row| match audit_log::hashed_entry(row) {
            Ok(hashed) => Ok::<_, Error>(Ok(hashed)),
            Err(_) => Ok(Err(audit_log::read(row, Column::Seq)?)),
        };
        rows.iter().map(read).collect()
    }

    /// The hashes of the groups erased from the entries with these numbers. Unreadable hashes are left out.
    pub async fn erased_hashes(&self, organization: &OrganizationId, seqs: &[Seq]) -> Result<Vec<ErasedGroupHash>> {
        let mut sql = self.sql(organization);
        let k = sql.rows(seqs.iter().map(|seq| json!([seq])).collect());
        let chosen = format!("e.organization_id = $1 AND e.seq = {}", number("k", 0));
        let each = dialect::each(sql.backend, "erasures", "e", &chosen);
        let statement = format!("SELECT e.seq, e.group_code, e.hash FROM {k} {each}");
        let mut hashes = Vec::new();
        for row in self.query(sql.statement(statement)).await? {
            let (seq, code, hash) = row.try_get_many_by_index()?;
            if let (Ok(group), Ok(hash)) = (rows::group(code), rows::hash(hash)) {
                hashes.push(ErasedGroupHash { seq, group, hash: GroupHash(hash) });
            }
        }
        Ok(hashes)
    }

    /// Erases the values of `groups`, and their salts, from the entries with these numbers.
    pub async fn erase_values(&self, organization: &OrganizationId, groups: Erased, seqs: &[Seq]) -> Result<()> {
        let mut sql = self.sql(organization);
        let k = sql.rows(seqs.iter().map(|seq| json!([seq])).collect());
        let (backend, bits) = (sql.backend, sql.bind(groups.0));
        let changes: Vec<_> = Column::iter().filter_map(|column| erased(column, groups, &bits, backend)).collect();
        let statement = format!(
            "UPDATE audit_logs SET {} WHERE organization_id = $1 AND seq IN (SELECT {} FROM {k})",
            changes.join(", "),
            number("k", 0)
        );
        self.execute(sql.statement(statement)).await
    }

    /// Stores the hashes of erased groups, each with the number of the entry that records it.
    pub async fn keep_erased_hashes(
        &self,
        organization: &OrganizationId,
        recorded: &[(ErasedGroupHash, Seq)],
    ) -> Result<()> {
        const COLUMNS: [&str; 5] = ["organization_id", "seq", "group_code", "hash", "erased_by"];
        let backend = self.sql(organization).backend;
        for chunk in prepared(recorded) {
            let values = chunk.iter().flat_map(|(ErasedGroupHash { seq, group, hash: GroupHash(hash) }, erased_by)| {
                let hash = hash.0.as_slice();
                [organization.as_str().into(), (*seq).into(), group.code().into(), hash.into(), (*erased_by).into()]
            });
            let statement = dialect::insert(backend, "erasures", &COLUMNS, chunk.len());
            self.execute(Statement::from_sql_and_values(backend, statement, values)).await?;
        }
        Ok(())
    }
}

/// `column = …`, which erases the values of `groups`; `None` if the column has none of them. `bits` is the parameter
/// with the bits of the groups.
fn erased(column: Column, groups: Erased, bits: &str, backend: DbBackend) -> Option<String> {
    let name = column.as_str();
    let value = match column.erasure() {
        ColumnErasure::Never => return None,
        ColumnErasure::Emptied(group, empty) => groups.has(group).then(|| empty.to_owned())?,
        ColumnErasure::Zeroed => without_salts(name, groups, backend),
        ColumnErasure::Flagged => format!("{name} | {bits}"),
    };
    Some(format!("{name} = {value}"))
}

/// `column` with zeros in place of the salts of these groups.
fn without_salts(column: &str, groups: Erased, backend: DbBackend) -> String {
    let (digits, salts) = (2 * size_of::<Salt>(), dialect::hex(backend, column));
    let salt = |group: &Group| match groups.has(*group) {
        true => format!("'{}'", "0".repeat(digits)),
        false => format!("substr({salts}, {}, {digits})", 1 + digits * *group as usize),
    };
    dialect::bytes(backend, &Group::ALL.iter().map(salt).collect::<Vec<_>>().join(" || "))
}
