//! The health of the services that need the database follows it. The health of the whole server does not: nobody should
//! restart a process because its database is away.

use std::time::Duration;

use tracing::{error, info};

use super::health::{AUDIT_LOGS, ERASURES, HealthStatuses};
use crate::store::Store;

/// Between two looks at the database.
const PERIOD: Duration = Duration::from_secs(1);

/// Reports whether the database answers, and logs when that changes.
pub(super) async fn follow_database(store: Store, health: HealthStatuses) {
    let mut did_answer = true;
    loop {
        tokio::time::sleep(PERIOD).await;
        let answer = store.ping().await;
        match (did_answer, &answer) {
            (true, Err(error)) => {
                error!(error = error.with_causes(), "the database does not answer; health checks say NOT_SERVING");
            }
            (false, Ok(())) => info!("the database answers again; health checks say SERVING"),
            _ => {}
        }
        did_answer = answer.is_ok();
        for service in [AUDIT_LOGS, ERASURES] {
            health.set(service, did_answer);
        }
    }
}
