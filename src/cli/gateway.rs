//! `auditlog gateway`.

use clap::Args;
use tonic::transport::Endpoint;
use tracing::info;

use super::client;
use super::serve::{self, ServingArgs, Signals};
use crate::app::gateway::{self, GatewayParts};
use crate::domain::{Clock, Random};

#[derive(Args)]
#[command(after_help = "\
Responses equal those of the service's own REST API, byte for byte. The
gateway has no API key of its own: it forwards the headers Authorization,
x-organization-id, traceparent, tracestate and grpc-timeout of each request.
The gateway gives an entry without an id one before it sends the entry for the
first time. So a retry after a broken connection is safe.

Examples:
  auditlog gateway --upstream http://127.0.0.1:8080
  auditlog gateway --upstream https://auditlog.internal --listen 0.0.0.0:8081
  auditlog gateway --upstream http://127.0.0.1:8080 --metrics-listen 127.0.0.1:9465")]
pub struct GatewayArgs {
    /// URL of the gRPC service: http:// or https://, and a host. The gateway starts without it, too.
    #[arg(long, env = "AUDITLOG_UPSTREAM", hide_env_values = true, value_parser = client::endpoint, value_name = "URL", required = true)]
    upstream: Endpoint,
    /// Address to listen on, as host:port. Port 0 takes a free port, which the log shows.
    #[arg(long, env = "AUDITLOG_LISTEN", value_parser = super::serve::address, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    listen: String,
    #[command(flatten)]
    serving: ServingArgs,
}

impl GatewayArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { upstream, listen, serving } = self;
        let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
        info!(version, upstream = %upstream.uri(), address = listen, pid, "starting");
        let parts =
            GatewayParts { upstream: client::prepared(&upstream)?, clock: Clock::system(), random: Random::system() };
        let signals = Signals::heard()?;
        serve::until_signal(gateway::start(parts, serving.at(listen)).await?, signals).await
    }
}
