//! The catalogue: the resource types and actions, and their codes.

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QueryTrait, Set};

use crate::domain::{Action, Catalogue, CatalogueName, Named, PathSegment, ResourceType, ServiceEntry, Timestamp};
use crate::error::{Error, Result};
use crate::store::connections::Transaction;
use crate::store::entities::{audit_log, catalogue, organization};
use crate::store::{Store, dialect};

const RESOURCE_TYPE: &str = "resource_type";
const ACTION: &str = "action";
/// The maximum number of resource types, including removed ones.
const MAX_TYPES: i16 = 256;

/// The outcome of adding a resource type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addition {
    /// The type was added.
    Added,
    /// The type existed, and got a path for its histories.
    PathAdded,
    /// The type existed with this path.
    Known,
    /// The type has another path, which cannot change: this one.
    OtherPath(String),
    /// Another type has the path: this one.
    PathTaken(String),
    /// The number of types has reached this limit.
    Full(i16),
}

/// The outcome of removing a resource type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// The type was removed; its histories had this path.
    Removed(Option<PathSegment>),
    /// No type has this name.
    Unknown,
    /// An organization has entries of the type: this one.
    Used(String),
    /// The service's own entries have this type.
    Needed,
}

impl Store {
    /// All resource types and actions.
    pub async fn catalogue(&self) -> Result<Catalogue> {
        let (mut resource_types, mut actions) = (Vec::new(), Vec::new());
        for row in rows(&self.readers).await? {
            let catalogue::Model { kind, code, name, path_segment, removed_at } = row;
            let (name, is_removed) = (CatalogueName::stored(name), removed_at.is_some());
            let path_segment = path_segment.map(PathSegment::stored);
            match kind.as_str() {
                RESOURCE_TYPE => {
                    resource_types.push(Named { code: ResourceType(code), name, path_segment, is_removed });
                }
                ACTION => actions.push(Named { code: Action(code), name, path_segment, is_removed }),
                _ => {
                    return Err(Error::Internal(anyhow::anyhow!("the catalogue has an unknown kind {kind:?}")));
                }
            }
        }
        Ok(Catalogue { resource_types, actions })
    }

    /// Adds a resource type with an optional path for its histories, or adds the path to a type without one. A removed
    /// type gets its old code back.
    pub async fn add_resource_type(&self, name: &CatalogueName, segment: Option<&PathSegment>) -> Result<Addition> {
        let transaction = self.locked_catalogue().await?;
        let types: Vec<_> = rows(&transaction).await?.into_iter().filter(|row| row.kind == RESOURCE_TYPE).collect();
        let segment = segment.map(PathSegment::as_str);
        let taken = types.iter().find(|row| row.path_segment.is_some() && row.path_segment.as_deref() == segment);
        if let Some(taken) = taken.filter(|row| row.name != name.as_str()) {
            return Ok(Addition::PathTaken(taken.name.clone()));
        }
        let known = types.iter().find(|row| row.name == name.as_str()).cloned();
        let addition = match known {
            Some(row) => restore(&transaction, row, segment).await?,
            None => match types.last().map_or(0, |last| last.code + 1) {
                MAX_TYPES.. => return Ok(Addition::Full(MAX_TYPES)),
                code => {
                    let path_segment = segment.map(str::to_owned);
                    let kind = RESOURCE_TYPE.to_owned();
                    let row = catalogue::Model { kind, code, name: name.to_string(), path_segment, removed_at: None };
                    catalogue::Entity::insert(row.into_active_model()).exec_without_returning(&transaction).await?;
                    Addition::Added
                }
            },
        };
        transaction.commit().await?;
        Ok(addition)
    }

    /// Removes a resource type that no entry has. Services with a cached catalogue may still write entries of it. So
    /// call [`Store::user_of_resource_type`] once their caches have expired, and add the type again if it is used.
    pub async fn remove_resource_type(&self, name: &CatalogueName, now: Timestamp) -> Result<Removal> {
        let transaction = self.locked_catalogue().await?;
        let known = rows(&transaction).await?.into_iter();
        let mut known = known.filter(|row| row.kind == RESOURCE_TYPE && row.removed_at.is_none());
        let Some(row) = known.find(|row| row.name == name.as_str()) else {
            return Ok(Removal::Unknown);
        };
        if row.name == ServiceEntry::RESOURCE_TYPE {
            return Ok(Removal::Needed);
        }
        if let Some(organization) = user_of(&transaction, row.code).await? {
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

    /// An organization that has entries of the resource type `name`, removed or not.
    pub async fn user_of_resource_type(&self, name: &CatalogueName) -> Result<Option<String>> {
        let known = rows(&self.readers).await?.into_iter();
        let mut known = known.filter(|row| row.kind == RESOURCE_TYPE && row.name == name.as_str());
        match known.next() {
            Some(row) => user_of(&self.readers, row.code).await,
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

/// Marks a known type as not removed and gives it `segment`, unless it has another path.
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

/// An organization that has entries of the type `code`. Checks one organization at a time, because the index of types
/// begins with the organization.
async fn user_of<C: ConnectionTrait>(connection: &C, code: i16) -> Result<Option<String>> {
    let own = Expr::col((organization::Entity, organization::Column::Id));
    let of_type = audit_log::Entity::find()
        .filter(own.equals((audit_log::Entity, audit_log::Column::OrganizationId)))
        .filter(audit_log::Column::ResourceType.eq(code));
    let used = organization::Entity::find().filter(Expr::exists(of_type.into_query()));
    Ok(used.one(connection).await?.map(|organization| organization.id))
}

/// All rows, ordered by code.
async fn rows<C: ConnectionTrait>(connection: &C) -> Result<Vec<catalogue::Model>> {
    Ok(catalogue::Entity::find().order_by_asc(catalogue::Column::Code).all(connection).await?)
}
