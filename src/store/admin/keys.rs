//! The API keys, without their secrets.

use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder};

use crate::domain::{ApiKeyName, Change, OrganizationId, Random, ServiceEntry, Timestamp};
use crate::error::Result;
use crate::store::entities::api_key;
use crate::store::{CommitFailed, Store};

/// An API key in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The public id of the key.
    pub id: String,
    /// Its name, for people. Several keys may have one name.
    pub name: Option<ApiKeyName>,
    /// The version of the hash, a colon, and the hash of the secret.
    pub hash: String,
    /// The only organization that the key may use; `None` for a service-wide key.
    pub organization: Option<OrganizationId>,
    /// The names of its scopes.
    pub scopes: Vec<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, accurate to a minute.
    pub last_used_at: Option<Timestamp>,
}

fn key(row: api_key::Model) -> ApiKey {
    let api_key::Model { id, name, hash, organization_id, scopes, created_at, expires_at, revoked_at, last_used_at } =
        row;
    ApiKey {
        id,
        name: name.map(ApiKeyName::stored),
        hash,
        organization: organization_id.map(OrganizationId::stored),
        scopes: scopes.split_whitespace().map(str::to_owned).collect(),
        created_at: Timestamp::saturating(created_at),
        expires_at: expires_at.map(Timestamp::saturating),
        revoked_at: revoked_at.map(Timestamp::saturating),
        last_used_at: last_used_at.map(Timestamp::saturating),
    }
}

impl ApiKey {
    /// The facts that the log of the service records, in the order of docs/LEAF_FORMAT.md. The hash is none of them.
    fn facts(&self) -> Vec<Change> {
        let Self { id, name, hash: _, organization, scopes, created_at: _, expires_at, revoked_at: _, last_used_at: _ } =
            self;
        let mut facts = vec![ServiceEntry::fact("id", id.as_str())];
        facts.extend(name.as_ref().map(|name| ServiceEntry::fact("name", name.as_str())));
        facts.push(ServiceEntry::fact("scopes", scopes.clone()));
        facts.push(ServiceEntry::fact("organization", organization.as_ref().map(OrganizationId::as_str)));
        facts.push(ServiceEntry::fact("expiresAt", expires_at.map(Timestamp::exact)));
        facts
    }
}

impl Store {
    /// Stores a new key. The same transaction records it in the log of the service.
    pub async fn create_key(&self, key: ApiKey, random: &Random) -> Result<()> {
        let mut append = self.append().await?;
        append.record(ServiceEntry::KeyCreated, vec![key.facts()], key.created_at, random).await?;
        let ApiKey { id, name, hash, organization, scopes, created_at, expires_at, revoked_at, last_used_at } = key;
        let row = api_key::Model {
            id,
            name: name.map(Into::into),
            hash,
            organization_id: organization.map(Into::into),
            scopes: scopes.join(" "),
            created_at: created_at.micros(),
            expires_at: expires_at.map(Timestamp::micros),
            revoked_at: revoked_at.map(Timestamp::micros),
            last_used_at: last_used_at.map(Timestamp::micros),
        };
        api_key::Entity::insert(row.into_active_model()).exec_without_returning(append.transaction()).await?;
        append.commit().await.map_err(|CommitFailed(error)| error)
    }

    /// The key with this public id.
    pub async fn key(&self, id: &str) -> Result<Option<ApiKey>> {
        Ok(api_key::Entity::find_by_id(id).one(&self.readers).await?.map(key))
    }

    /// All keys, oldest first.
    pub async fn keys(&self) -> Result<Vec<ApiKey>> {
        let rows = api_key::Entity::find().order_by_asc(api_key::Column::CreatedAt).all(&self.readers).await?;
        Ok(rows.into_iter().map(key).collect())
    }

    /// Revokes a key; `false` if it was revoked already or never existed. The same transaction records it in the log of
    /// the service.
    pub async fn revoke_key(&self, id: &str, now: Timestamp, random: &Random) -> Result<bool> {
        let mut append = self.append().await?;
        let known = api_key::Entity::find_by_id(id).one(append.transaction()).await?.map(key);
        let Some(known) = known.filter(|known| known.revoked_at.is_none()) else {
            append.roll_back().await?;
            return Ok(false);
        };
        append.record(ServiceEntry::KeyRevoked, vec![known.facts()], now, random).await?;
        let ended = api_key::ActiveModel { revoked_at: ActiveValue::Set(Some(now.micros())), ..Default::default() };
        let updated = api_key::Entity::update_many()
            .set(ended)
            .filter(api_key::Column::Id.eq(id))
            .filter(api_key::Column::RevokedAt.is_null())
            .exec(append.transaction())
            .await?;
        // Another process may have revoked the key while this one waited for the log.
        if updated.rows_affected == 0 {
            append.roll_back().await?;
            return Ok(false);
        }
        append.commit().await.map_err(|CommitFailed(error)| error)?;
        Ok(true)
    }

    /// Records that a key was used.
    pub async fn touch_key(&self, id: &str, now: Timestamp) -> Result<()> {
        let used = api_key::ActiveModel { last_used_at: ActiveValue::Set(Some(now.micros())), ..Default::default() };
        api_key::Entity::update_many().set(used).filter(api_key::Column::Id.eq(id)).exec(&self.writers).await?;
        Ok(())
    }
}
