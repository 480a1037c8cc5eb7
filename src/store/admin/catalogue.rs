//! The catalogue: the resource types and actions, and their codes.

use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel, QueryOrder, Set, Statement};

use crate::domain::{
    Action, Catalogue, CatalogueKind, CatalogueName, Named, PathSegment, ResourceType, ServiceEntry, Timestamp,
};
use crate::error::Result;
use crate::store::connections::Transaction;
use crate::store::entities::catalogue;
use crate::store::{Store, dialect};

/// The maximum number of resource types, and of actions, including removed ones.
const MAX_NAMES: i16 = 1_000;

/// The outcome of adding a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addition {
    /// The name was added.
    Added,
    /// The type existed, and got a path for its histories.
    PathAdded,
    /// The name existed, with this path.
    Known,
    /// The type has another path, which cannot change: this one.
    OtherPath(String),
    /// Another type has the path: this one.
    PathTaken(String),
    /// The number of names of the kind has reached this limit.
    Full(i16),
}

/// The outcome of removing a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// The name was removed; its histories had this path.
    Removed(Option<PathSegment>),
    /// There is no such name.
    Unknown,
    /// An organization has entries with the name: this one.
    Used(String),
    /// The service's own entries have this name.
    Needed,
}

impl Store {
    /// All resource types and actions.
    pub async fn catalogue(&self) -> Result<Catalogue> {
        let rows = all(&self.readers).await?;
        let resource_types = named(&rows, CatalogueKind::ResourceType, ResourceType);
        Ok(Catalogue { resource_types, actions: named(&rows, CatalogueKind::Action, Action) })
    }

    /// Adds a name, or adds the path of histories to a resource type without one. Only resource types have paths. A
    /// removed name gets its old code back.
    pub async fn add_to_catalogue(
        &self,
        kind: CatalogueKind,
        name: &CatalogueName,
        segment: Option<&PathSegment>,
    ) -> Result<Addition> {
        let transaction = self.locked_catalogue().await?;
        let known = rows(&transaction, kind).await?;
        let segment = segment.map(PathSegment::as_str);
        let taken = known.iter().find(|row| row.path_segment.is_some() && row.path_segment.as_deref() == segment);
        if let Some(taken) = taken.filter(|row| row.name != name.as_str()) {
            return Ok(Addition::PathTaken(taken.name.clone()));
        }
        let addition = match known.iter().find(|row| row.name == name.as_str()).cloned() {
            Some(row) => restore(&transaction, row, segment).await?,
            None => match known.last().map_or(0, |last| last.code + 1) {
                MAX_NAMES.. => return Ok(Addition::Full(MAX_NAMES)),
                code => {
                    let (kind, name) = (kind.text().to_owned(), name.to_string());
                    let path_segment = segment.map(str::to_owned);
                    let row = catalogue::Model { kind, code, name, path_segment, removed_at: None };
                    catalogue::Entity::insert(row.into_active_model()).exec_without_returning(&transaction).await?;
                    Addition::Added
                }
            },
        };
        transaction.commit().await?;
        Ok(addition)
    }

    /// Removes a name that no entry has. Services with a cached catalogue may still write entries with it. So call
    /// [`Store::user_of_name`] once their caches have expired, and add the name again if it is used.
    pub async fn remove_from_catalogue(
        &self,
        kind: CatalogueKind,
        name: &CatalogueName,
        now: Timestamp,
    ) -> Result<Removal> {
        let transaction = self.locked_catalogue().await?;
        let mut known = rows(&transaction, kind).await?.into_iter().filter(|row| row.removed_at.is_none());
        let Some(row) = known.find(|row| row.name == name.as_str()) else {
            return Ok(Removal::Unknown);
        };
        let needed = match kind {
            CatalogueKind::ResourceType => ServiceEntry::RESOURCE_TYPE,
            CatalogueKind::Action => ServiceEntry::ACTION,
        };
        if row.name == needed {
            return Ok(Removal::Needed);
        }
        if let Some(organization) = user_of(&transaction, kind, row.code).await? {
            return Ok(Removal::Used(organization));
        }
        let segment = row.path_segment.clone().map(PathSegment::stored);
        let mut row = row.into_active_model();
        row.removed_at = Set(Some(now.micros()));
        row.path_segment = Set(None);
        catalogue::Entity::update(row).exec(&transaction).await?;
        transaction.commit().await?;
        Ok(Removal::Removed(segment))
    }

    /// An organization that has entries with `name`, removed or not.
    pub async fn user_of_name(&self, kind: CatalogueKind, name: &CatalogueName) -> Result<Option<String>> {
        let known = rows(&self.readers, kind).await?;
        match known.iter().find(|row| row.name == name.as_str()) {
            Some(row) => user_of(&self.readers, kind, row.code).await,
            None => Ok(None),
        }
    }

    /// Begins a transaction that holds the lock of the catalogue. Dropping it without a commit undoes it.
    async fn locked_catalogue(&self) -> Result<Transaction> {
        let transaction = self.writers.begin().await?;
        dialect::lock_schema(&transaction).await?;
        Ok(transaction)
    }
}

/// The names of `kind` among `rows`.
fn named<C>(rows: &[catalogue::Model], kind: CatalogueKind, code_of: fn(i16) -> C) -> Vec<Named<C>> {
    let named = |row: &catalogue::Model| {
        let catalogue::Model { kind: _, code, name, path_segment, removed_at } = row.clone();
        Named {
            code: code_of(code),
            name: CatalogueName::stored(name),
            path_segment: path_segment.map(PathSegment::stored),
            is_removed: removed_at.is_some(),
        }
    };
    rows.iter().filter(|row| row.kind == kind.text()).map(named).collect()
}

/// Marks a known name as not removed and gives it `segment`, unless it has another path.
async fn restore(transaction: &Transaction, row: catalogue::Model, segment: Option<&str>) -> Result<Addition> {
    let addition = match (&row.path_segment, segment) {
        (Some(own), Some(segment)) if own != segment => return Ok(Addition::OtherPath(own.clone())),
        _ if row.removed_at.is_some() => Addition::Added,
        (None, Some(_)) => Addition::PathAdded,
        _ => return Ok(Addition::Known),
    };
    let mut row = row.into_active_model();
    row.removed_at = Set(None);
    if segment.is_some() {
        row.path_segment = Set(segment.map(str::to_owned));
    }
    catalogue::Entity::update(row).exec(transaction).await?;
    Ok(addition)
}

/// An organization that has entries with the name of this `code`. Looks at one organization and type at a time, because
/// the index that has types and actions begins with them. The order makes it look cheapest, however large the table is.
async fn user_of<C: ConnectionTrait>(connection: &C, kind: CatalogueKind, code: i16) -> Result<Option<String>> {
    let (is_named, order) = match kind {
        CatalogueKind::ResourceType => ("t.code = $1", "a.action"),
        CatalogueKind::Action => ("a.action = $1", "a.outcome"),
    };
    let text = format!(
        "SELECT o.id FROM organizations o CROSS JOIN catalogue t WHERE t.kind = 'resource_type' AND (SELECT 1 \
         FROM audit_logs a WHERE a.organization_id = o.id AND a.resource_type = t.code AND {is_named} \
         ORDER BY {order} LIMIT 1) = 1 LIMIT 1"
    );
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), text, [code.into()]);
    let used = connection.query_one_raw(statement).await?;
    used.map(|row| Ok(row.try_get_by_index(0)?)).transpose()
}

/// The rows of `kind`, ordered by code.
async fn rows<C: ConnectionTrait>(connection: &C, kind: CatalogueKind) -> Result<Vec<catalogue::Model>> {
    let rows = all(connection).await?.into_iter();
    Ok(rows.filter(|row| row.kind == kind.text()).collect())
}

/// All rows, ordered by code.
async fn all<C: ConnectionTrait>(connection: &C) -> Result<Vec<catalogue::Model>> {
    Ok(catalogue::Entity::find().order_by_asc(catalogue::Column::Code).all(connection).await?)
}
