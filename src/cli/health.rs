//! `auditlog health`.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use tonic::Request;
use tonic::transport::Endpoint;

use super::client::{self, explained};
use crate::grpc::health::HealthCheckRequest;
use crate::grpc::health::health_check_response::ServingStatus;
use crate::grpc::health::health_client::HealthClient;

/// What a container's health check may wait for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which service to ask.
#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog health
  auditlog health --service auditlog.v1.IntegrityService
  auditlog health --endpoint https://auditlog.internal && echo up")]
pub struct Health {
    /// The service.
    #[arg(long, env = "AUDITLOG_ENDPOINT", default_value = "http://127.0.0.1:8080", value_parser = client::endpoint, value_name = "URL")]
    endpoint: Endpoint,
    /// One part of it: auditlog.v1.IntegrityService does not serve while checkpoints cannot be signed. Otherwise whether
    /// it takes requests at all.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
}

impl Health {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let channel = client::prepared(&self.endpoint)?.timeout(PATIENCE).connect_lazy();
        let check = Request::new(HealthCheckRequest { service: self.service.clone() });
        let answer = HealthClient::new(channel).check(check).await;
        let answer = answer.map_err(|status| explained(&status, &self.endpoint))?.into_inner();
        match answer.status == ServingStatus::Serving as i32 {
            true => Ok(writeln!(stdout(), "serving")?),
            false if self.service.is_empty() => {
                bail!("the service at {} is not serving: it starts or drains", self.endpoint.uri())
            }
            false => {
                bail!("{} at {} is not serving; the log of the service says why", self.service, self.endpoint.uri())
            }
        }
    }
}
