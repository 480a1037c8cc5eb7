//! Connections of tokio-postgres, with the settings of those that the service reads with.

use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls, Statement};

use crate::bare::READERS;

/// The settings that `src/store/connect.rs` makes for reads of a large table.
const OPTIONS: &str = "-c enable_bitmapscan=off -c enable_seqscan=off -c max_parallel_workers_per_gather=0 -c jit=off \
     -c plan_cache_mode=force_generic_plan -c lock_timeout=10s -c idle_in_transaction_session_timeout=30s \
     -c statement_timeout=30s";

/// A connection with its prepared statements.
pub struct Connection {
    pub client: Client,
    pub statements: Vec<Statement>,
}

/// As many connections as the service has readers.
pub struct Pool {
    connections: Vec<Connection>,
    /// The indexes of the connections that are not in use.
    free: Mutex<Vec<usize>>,
    /// One permit for each free connection.
    permits: Semaphore,
}

/// A connection in use. It is free again when this is dropped.
pub struct Lease<'a> {
    pool: &'a Pool,
    place: usize,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    /// Opens the connections and prepares `texts` in each.
    pub async fn connect(url: &str, texts: &[String]) -> anyhow::Result<Self> {
        let mut config: Config = url.parse()?;
        config.application_name("ceiling").options(OPTIONS);
        let mut connections = Vec::new();
        for _ in 0..READERS {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            let mut statements = Vec::with_capacity(texts.len());
            for text in texts {
                statements.push(prepare(&client, text).await.with_context(|| text.clone())?);
            }
            connections.push(Connection { client, statements });
        }
        let permits = Semaphore::new(connections.len());
        Ok(Self { free: Mutex::new((0..connections.len()).collect()), connections, permits })
    }

    /// The prepared statements of any connection, in the order of their texts. They only show types and columns: each
    /// connection runs its own.
    pub fn statements(&self) -> &[Statement] {
        self.connections.first().map_or(&[][..], |connection| connection.statements.as_slice())
    }

    /// Waits for a free connection.
    pub async fn acquire(&self) -> anyhow::Result<Lease<'_>> {
        let permit = self.permits.acquire().await?;
        let place = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Lease { pool: self, place: place.context("a permit without a connection")?, _permit: permit })
    }
}

impl Deref for Lease<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.pool.connections[self.place]
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.place);
    }
}

/// Prepares a statement. PostgreSQL derives the types of its parameters, and takes a text that is cast to JSON for
/// JSON; the service sends it as a text.
async fn prepare(client: &Client, text: &str) -> Result<Statement, tokio_postgres::Error> {
    let statement = client.prepare(text).await?;
    if !statement.params().contains(&Type::JSON) {
        return Ok(statement);
    }
    let sent = |kind: &Type| if *kind == Type::JSON { Type::TEXT } else { kind.clone() };
    let types: Vec<_> = statement.params().iter().map(sent).collect();
    client.prepare_typed(text, &types).await
}
