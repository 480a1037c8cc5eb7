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
use crate::grpc::pb::audit_log_service_server::SERVICE_NAME;

/// The deadline of one check, short enough for the health check of a container.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog health
  auditlog health --service auditlog.v1.IntegrityService
  auditlog health --endpoint https://auditlog.internal && echo up")]
pub struct HealthArgs {
    /// URL of the service: http:// or https://, and a host.
    #[arg(long, env = "AUDITLOG_ENDPOINT", hide_env_values = true, default_value = "http://127.0.0.1:8080", value_parser = client::endpoint, value_name = "URL")]
    endpoint: Endpoint,
    /// gRPC service to check, such as auditlog.v1.IntegrityService, which fails while checkpoints cannot be signed.
    /// Default: check that the process accepts requests and that its database answers.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
}

impl HealthArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let channel = client::prepared(&self.endpoint)?.timeout(CALL_TIMEOUT).connect_lazy();
        let is_serving = async |service: &str| {
            let check = Request::new(HealthCheckRequest { service: service.to_owned() });
            let answer = HealthClient::new(channel.clone()).check(check).await;
            let answer = answer.map_err(|status| explained(&status, &self.endpoint))?.into_inner();
            anyhow::Ok(answer.status == ServingStatus::Serving as i32)
        };
        let uri = self.endpoint.uri();
        if !self.service.is_empty() {
            return match is_serving(&self.service).await? {
                true => Ok(writeln!(stdout(), "serving")?),
                false => bail!("{} at {uri} is not serving; the log of the service says why", self.service),
            };
        }
        if is_serving(SERVICE_NAME).await? {
            return Ok(writeln!(stdout(), "serving")?);
        }
        // During a drain, the status of the whole process fails too.
        match is_serving("").await? {
            true => {
                bail!("the service at {uri} runs, but its database does not answer; the log of the service says why")
            }
            false => bail!("the service at {uri} is not serving: it is starting or draining"),
        }
    }
}
