//! Keys that only the services of one database know. They are created with the schema, so that all replicas and any
//! restored or copied database have the same.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, IntoActiveModel};

use crate::domain::Random;
use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::entities::secret;

/// The id of the key that authenticates cursors. A new key gets a new id.
pub const CURSOR_KEY_ID: u8 = 1;
/// The length of a key. Bytes.
pub const CURSOR_KEY_BYTES: usize = 32;

fn cursor_key_name(id: u8) -> String {
    format!("cursor/{id}")
}

/// Creates missing keys. Call it under the schema's lock.
pub(super) async fn make_missing(transaction: &impl ConnectionTrait) -> std::result::Result<(), DbErr> {
    // The randomness is not passed in: with repeatable bytes, anybody could forge cursors.
    let value = Random::system().bytes::<CURSOR_KEY_BYTES>().to_vec();
    let row = secret::Model { name: cursor_key_name(CURSOR_KEY_ID), value };
    let keep = OnConflict::column(secret::Column::Name).do_nothing().to_owned();
    secret::Entity::insert(row.into_active_model()).on_conflict(keep).exec_without_returning(transaction).await?;
    Ok(())
}

impl Store {
    /// The cursor key with this id. Errors: `Internal` if there is none.
    pub async fn cursor_key(&self, id: u8) -> Result<[u8; CURSOR_KEY_BYTES]> {
        let row = secret::Entity::find_by_id(cursor_key_name(id)).one(&self.readers).await?;
        let key = row.and_then(|row| row.value.try_into().ok());
        key.ok_or_else(|| {
            let missing = anyhow::anyhow!("the database has no key for cursors; `auditlog migrate` creates it");
            Error::Internal(missing)
        })
    }
}
