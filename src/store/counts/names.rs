//! The index of names: counting adds the names of counted entries, an erasure removes those that no entry has any more,
//! and searches look them up. Both writers hold the organization's row of `count_state`, and an entry is in the index if
//! it is counted and not erased.

use std::collections::BTreeMap;

use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ConnectionTrait, EntityTrait, IdenStatic, IntoActiveModel, QueryResult, Statement, Value};

use super::snapshot::MAX_UNCOUNTED;
use super::transaction::CountTransaction;
use crate::domain::{
    CountKey, Damaged, Group, Identifier, IndexedName, IndexedNames, NameField, NamePattern, OrganizationId,
    ResourceType, Seq,
};
use crate::error::Result;
use crate::store::entities::audit_log::Column;
use crate::store::entities::{count_state, name};
use crate::store::entries::append::Append;
use crate::store::entries::list::Snapshot;
use crate::store::sql::{Sql, prepared};
use crate::store::{Store, dialect, rows};

/// An organization with more entries is a large one.
const LARGE: Seq = 50_000;
/// The entries that one statement of a check reads.
const PIECE: Seq = 10_000;
/// Reads the names of entries with numbers after `$2` and up to `$3`.
const ENTRIES: &str = "SELECT a.user_id, a.user_name, a.user_email, a.resource_type, a.resource_id, a.resource_name \
                       FROM audit_logs a WHERE a.organization_id = $1 AND a.seq > $2 AND a.seq <= $3";

impl CountTransaction {
    /// The groups that were erased from the entries that are not counted yet, with numbers up to `to`. Later erasures
    /// wait for the end of this transaction.
    pub async fn erased(&self, to: Seq) -> Result<Vec<(Seq, Group)>> {
        let mut sql = self.sql();
        let (after, to) = (sql.bind(self.counted()), sql.bind(to));
        let statement = format!(
            "SELECT seq, group_code FROM erasures WHERE organization_id = $1 AND seq > {after} AND seq <= {to}"
        );
        let mut groups = Vec::new();
        for row in self.query(sql.statement(statement)).await? {
            let (seq, code) = row.try_get_many_by_index()?;
            groups.push((seq, rows::group(code)?));
        }
        Ok(groups)
    }

    /// Adds the names of counted entries, with the number of entries of each.
    pub async fn add_names(&self, names: BTreeMap<IndexedName, i64>) -> Result<()> {
        save(self.connection(), self.organization(), names).await
    }
}

impl Append {
    /// Removes the names that entries with these numbers had, unless other entries have them too. To be called in the
    /// transaction that erases them, which then holds the lock of counting until it ends.
    pub async fn remove_names(&self, organization: &OrganizationId, erased: Vec<(Seq, IndexedName)>) -> Result<()> {
        let row = count_state::Model { organization_id: organization.to_string(), counted_seq: 0 };
        let unless_there = OnConflict::column(count_state::Column::OrganizationId).do_nothing().to_owned();
        let insert = count_state::Entity::insert(row.into_active_model()).on_conflict(unless_there);
        insert.exec_without_returning(self.connection()).await?;
        let backend = self.connection().get_database_backend();
        let text = format!("SELECT counted_seq FROM count_state WHERE organization_id = $1 {}", dialect::wait(backend));
        let held = Statement::from_sql_and_values(backend, text, [organization.as_str().into()]);
        let held = self.connection().query_one_raw(held).await?;
        let counted: Seq = held.map_or(Ok(0), |row| row.try_get_by_index(0))?;
        let mut names = BTreeMap::new();
        for (_, name) in erased.into_iter().filter(|(seq, _)| *seq <= counted) {
            *names.entry(name).or_insert(0) -= 1;
        }
        let gone: Vec<_> = names.keys().cloned().collect();
        save(self.connection(), organization, names).await?;
        for chunk in prepared(&gone) {
            let mut values: Vec<Value> = vec![organization.as_str().into()];
            let mut rows = Vec::with_capacity(chunk.len());
            for IndexedName { field, folded, key } in chunk {
                let place = values.len();
                rows.push(format!("(${}, ${}, ${})", place + 1, place + 2, place + 3));
                values.extend([field.code().into(), folded.as_bytes().into(), key.text().into()]);
            }
            let text = format!(
                "DELETE FROM names WHERE organization_id = $1 AND entries <= 0 AND (field, folded, key) IN (VALUES {})",
                rows.join(", ")
            );
            self.connection().execute_raw(Statement::from_sql_and_values(backend, text, values)).await?;
        }
        Ok(())
    }
}

impl Snapshot {
    /// The users or resources of which some entry may have a name in `field` that matches `pattern`: those of the index,
    /// and those of entries that are not counted yet. `None` if these are more than the first number of `most`, or in a
    /// large organization than the second one, or if too many entries are not counted.
    pub async fn keys_named(
        &self,
        organization: &OrganizationId,
        field: NameField,
        pattern: &NamePattern,
        most: [usize; 2],
    ) -> Result<Option<Vec<CountKey>>> {
        let mut sql = self.sql(organization);
        let statement = named_statement(&mut sql, field, pattern, most[1]);
        let rows = self.query(sql.statement(statement)).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let (head, counted): (Seq, Seq) = (first.try_get_by_index(0)?, first.try_get_by_index(1)?);
        let most = if head > LARGE { most[1] } else { most[0] };
        if head - counted > MAX_UNCOUNTED || rows.len() > most {
            return Ok(None);
        }
        let mut keys = Vec::new();
        for row in &rows {
            let key: Option<String> = row.try_get_by_index(2)?;
            keys.extend(key.map(|key| CountKey::stored(&key).ok_or(Damaged)).transpose()?);
        }
        if counted < head {
            keys.extend(self.uncounted_named(organization, field, pattern, (counted, head)).await?);
        }
        keys.sort_unstable();
        keys.dedup();
        Ok((keys.len() <= most).then_some(keys))
    }

    /// The users or resources of the entries with numbers after `counted` and up to `head` whose name matches.
    async fn uncounted_named(
        &self,
        organization: &OrganizationId,
        field: NameField,
        pattern: &NamePattern,
        (counted, head): (Seq, Seq),
    ) -> Result<Vec<CountKey>> {
        let mut sql = self.sql(organization);
        let (counted, head) = (sql.bind(counted), sql.bind(head));
        let (id, column) = match field {
            NameField::UserName => (Column::UserId, Column::UserName),
            NameField::UserEmail => (Column::UserId, Column::UserEmail),
            NameField::ResourceName => (Column::ResourceId, Column::ResourceName),
        };
        let (id, column) = (id.as_str(), column.as_str());
        // One row for each name in a range of numbers, which the planner takes for a few rows.
        let statement = format!(
            "SELECT DISTINCT a.resource_type, a.{id}, a.{column} FROM audit_logs a WHERE a.organization_id = $1 \
             AND a.seq > {counted} AND a.seq <= {head} AND a.{column} IS NOT NULL"
        );
        let mut keys = Vec::new();
        for row in self.query(sql.statement(statement)).await? {
            let (resource_type, id, name): (i16, String, String) = row.try_get_many_by_index()?;
            let id = Identifier::stored(id);
            if pattern.matches(&name) {
                keys.push(match field {
                    NameField::UserName | NameField::UserEmail => CountKey::User(id),
                    NameField::ResourceName => CountKey::Resource(ResourceType(resource_type), id),
                });
            }
        }
        Ok(keys)
    }
}

impl Store {
    /// The number of names of `organization` that are missing in the index, or have a wrong number of entries, and of
    /// those that no entry has. Reads all counted entries.
    pub async fn wrong_names(&self, organization: &OrganizationId) -> Result<usize> {
        let transaction = self.readers.begin().await?;
        let backend = transaction.get_database_backend();
        let counted = count_state::Entity::find_by_id(organization.as_str()).one(&transaction).await?;
        let counted = counted.map_or(0, |state| state.counted_seq);
        let mut names: BTreeMap<IndexedName, i64> = BTreeMap::new();
        for after in (0..counted).step_by(PIECE as usize) {
            let values = [organization.as_str().into(), after.into(), (after + PIECE).min(counted).into()];
            let piece = Statement::from_sql_and_values(backend, ENTRIES, values);
            for row in transaction.query_all_raw(piece).await? {
                for name in names_of(&row)? {
                    *names.entry(name).or_insert(0) += 1;
                }
            }
        }
        let text = "SELECT field, folded, key, entries FROM names WHERE organization_id = $1";
        let stored = Statement::from_sql_and_values(backend, text, [organization.as_str().into()]);
        let (mut wrong, mut right) = (0, 0);
        for row in transaction.query_all_raw(stored).await? {
            let (code, folded, key, entries): (i16, Vec<u8>, String, i64) = row.try_get_many_by_index()?;
            let expected = indexed_name(code, folded, &key).and_then(|name| names.get(&name));
            *(if expected == Some(&entries) { &mut right } else { &mut wrong }) += 1;
        }
        transaction.commit().await?;
        // Each name that entries have is right in the index, or one of the wrong ones, or missing.
        Ok(wrong.max(names.len() - right))
    }
}

/// Adds these numbers of entries to those of the names.
async fn save(
    connection: &impl ConnectionTrait,
    organization: &OrganizationId,
    names: BTreeMap<IndexedName, i64>,
) -> Result<()> {
    use name::Column as C;
    let row = |(IndexedName { field, folded, key }, entries)| name::Model {
        organization_id: organization.to_string(),
        field: NameField::code(field),
        folded: folded.into_bytes(),
        key: CountKey::text(&key),
        entries,
    };
    let rows: Vec<_> = names.into_iter().map(row).collect();
    let sum = Expr::cust("names.entries + excluded.entries");
    let added = OnConflict::columns([C::OrganizationId, C::Field, C::Folded, C::Key]).value(C::Entries, sum).to_owned();
    for chunk in prepared(&rows) {
        let rows = chunk.iter().cloned().map(IntoActiveModel::into_active_model);
        name::Entity::insert_many(rows).on_conflict(added.clone()).exec_without_returning(connection).await?;
    }
    Ok(())
}

/// `SELECT head, counted, key` for each name in the index that `pattern` may match; one row without a key if there is
/// none, and no row if there is no such organization.
fn named_statement(sql: &mut Sql, field: NameField, pattern: &NamePattern, most: usize) -> String {
    let field = sql.bind(field.code());
    let matches = match IndexedNames::of(pattern) {
        IndexedNames::Equal(folded) => format!("n.folded = {}", sql.bind(folded.into_bytes())),
        IndexedNames::In(range) => {
            let (start, end) = (sql.bind(range.start), sql.bind(range.end));
            format!("n.folded >= {start} AND n.folded < {end}")
        }
    };
    let limit = sql.bind(most as i64 + 1);
    format!(
        "SELECT o.head_seq, coalesce(s.counted_seq, 0), k.key FROM organizations o \
         LEFT JOIN count_state s ON s.organization_id = o.id \
         LEFT JOIN (SELECT n.key FROM names n WHERE n.organization_id = $1 AND n.field = {field} AND {matches} \
         LIMIT {limit}) k ON true WHERE o.id = $1"
    )
}

/// The names in a row of [`ENTRIES`].
fn names_of(row: &QueryResult) -> Result<Vec<IndexedName>> {
    let (user, user_name, user_email, resource_type, resource, resource_name): (
        String,
        Option<String>,
        Option<String>,
        i16,
        String,
        Option<String>,
    ) = row.try_get_many_by_index()?;
    let user = CountKey::User(Identifier::stored(user));
    let resource = CountKey::Resource(ResourceType(resource_type), Identifier::stored(resource));
    let fields = [
        (NameField::UserName, user_name, &user),
        (NameField::UserEmail, user_email, &user),
        (NameField::ResourceName, resource_name, &resource),
    ];
    let names = fields.into_iter().filter_map(|(field, name, key)| Some(IndexedName::new(field, &name?, key.clone())));
    Ok(names.collect())
}

fn indexed_name(code: i16, folded: Vec<u8>, key: &str) -> Option<IndexedName> {
    let fields = [NameField::UserName, NameField::UserEmail, NameField::ResourceName];
    let field = fields.into_iter().find(|field| field.code() == code)?;
    Some(IndexedName { field, folded: String::from_utf8(folded).ok()?, key: CountKey::stored(key)? })
}
