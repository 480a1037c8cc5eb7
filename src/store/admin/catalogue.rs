//! The catalogue: the resource types and actions, and their codes.

use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel, QueryOrder, Set, Statement};

use crate::domain::{
    Action, Catalogue, CatalogueKind, CatalogueName, Change, Named, PathSegment, Random, ResourceType, ServiceEntry,
    Timestamp,
};
use crate::error::Result;
use crate::store::entities::catalogue;
use crate::store::entries::append::Append;
use crate::store::{CommitFailed, Store, dialect};

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
        read(&self.readers).await
    }

    /// Adds a name, or adds the path of histories to a resource type without one. Only resource types have paths. A
    /// removed name gets its old code back. The same transaction records the change in the log of the service.
    pub async fn add_to_catalogue(
        &self,
        kind: CatalogueKind,
        name: &CatalogueName,
        segment: Option<&PathSegment>,
        now: Timestamp,
        random: &Random,
    ) -> Result<Addition> {
        let mut append = self.locked_catalogue().await?;
        let known = rows(append.transaction(), kind).await?;
        let segment = segment.map(PathSegment::as_str);
        let taken = known.iter().find(|row| row.path_segment.is_some() && row.path_segment.as_deref() == segment);
        if let Some(taken) = taken.filter(|row| row.name != name.as_str()) {
            return Ok(Addition::PathTaken(taken.name.clone()));
        }
        let same = known.iter().find(|row| row.name == name.as_str());
        let (addition, row) = match (same, known.last().map_or(0, |last| last.code + 1)) {
            (Some(row), _) => restored(row, segment),
            (None, MAX_NAMES..=i16::MAX) => return Ok(Addition::Full(MAX_NAMES)),
            (None, code) => {
                let (kind, name) = (kind.text().to_owned(), name.to_string());
                let path_segment = segment.map(str::to_owned);
                (Addition::Added, catalogue::Model { kind, code, name, path_segment, removed_at: None })
            }
        };
        if !matches!(addition, Addition::Added | Addition::PathAdded) {
            return Ok(addition);
        }
        append.record(ServiceEntry::CatalogueAdded, vec![facts(&row)], now, random).await?;
        match same {
            Some(_) => update(&append, row).await?,
            None => {
                let row = row.into_active_model();
                catalogue::Entity::insert(row).exec_without_returning(append.transaction()).await?;
            }
        }
        append.commit().await.map_err(|CommitFailed(error)| error)?;
        Ok(addition)
    }

    /// Removes a name that no entry has. Services with a cached catalogue may still write entries with it. So call
    /// [`Store::user_of_name`] once their caches have expired, and add the name again if it is used. The same
    /// transaction records the removal in the log of the service.
    pub async fn remove_from_catalogue(
        &self,
        kind: CatalogueKind,
        name: &CatalogueName,
        now: Timestamp,
        random: &Random,
    ) -> Result<Removal> {
        let needed = match kind {
            CatalogueKind::ResourceType => ServiceEntry::RESOURCE_TYPE,
            CatalogueKind::Action => ServiceEntry::ACTION,
        };
        if name.as_str() == needed {
            return Ok(Removal::Needed);
        }
        // Before the transaction, whose lock writers wait for on SQLite: it takes long with many organizations.
        if let Some(organization) = self.user_of_name(kind, name).await? {
            return Ok(Removal::Used(organization));
        }
        let mut append = self.locked_catalogue().await?;
        let mut known = rows(append.transaction(), kind).await?.into_iter().filter(|row| row.removed_at.is_none());
        let Some(row) = known.find(|row| row.name == name.as_str()) else {
            return Ok(Removal::Unknown);
        };
        append.record(ServiceEntry::CatalogueRemoved, vec![facts(&row)], now, random).await?;
        let segment = row.path_segment.clone().map(PathSegment::stored);
        update(&append, catalogue::Model { path_segment: None, removed_at: Some(now.micros()), ..row }).await?;
        append.commit().await.map_err(|CommitFailed(error)| error)?;
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
    async fn locked_catalogue(&self) -> Result<Append> {
        let append = self.append().await?;
        dialect::lock_schema(append.transaction()).await?;
        Ok(append)
    }
}

/// All resource types and actions.
pub(super) async fn read<C: ConnectionTrait>(connection: &C) -> Result<Catalogue> {
    let rows = all(connection).await?;
    let resource_types = named(&rows, CatalogueKind::ResourceType, ResourceType);
    Ok(Catalogue { resource_types, actions: named(&rows, CatalogueKind::Action, Action) })
}

/// The facts that the log of the service records of a name, in the order of docs/LEAF_FORMAT.md.
fn facts(row: &catalogue::Model) -> Vec<Change> {
    let catalogue::Model { kind, code: _, name, path_segment, removed_at: _ } = row;
    vec![
        ServiceEntry::fact("kind", kind.as_str()),
        ServiceEntry::fact("name", name.as_str()),
        ServiceEntry::fact("history", path_segment.as_deref()),
    ]
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

/// The row of a known name that is added with `segment`. The row is to be written if the name was removed or gets a path.
fn restored(row: &catalogue::Model, segment: Option<&str>) -> (Addition, catalogue::Model) {
    let addition = match (&row.path_segment, segment) {
        (Some(own), Some(segment)) if own != segment => Addition::OtherPath(own.clone()),
        _ if row.removed_at.is_some() => Addition::Added,
        (None, Some(_)) => Addition::PathAdded,
        _ => Addition::Known,
    };
    let path_segment = row.path_segment.clone().or_else(|| segment.map(str::to_owned));
    (addition, catalogue::Model { path_segment, removed_at: None, ..row.clone() })
}

/// Writes the path and the time of removal of a known name.
async fn update(append: &Append, row: catalogue::Model) -> Result<()> {
    let (path_segment, removed_at) = (Set(row.path_segment.clone()), Set(row.removed_at));
    let row = catalogue::ActiveModel { path_segment, removed_at, ..row.into_active_model() };
    catalogue::Entity::update(row).exec(append.transaction()).await?;
    Ok(())
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
