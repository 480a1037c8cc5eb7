//! `auditlog gateway`.

use clap::Args;
use tonic::transport::Endpoint;
use tracing::info;

use super::client;
use super::serve::{self, Serving, Signals};
use crate::app::gateway::{self, Parts};
use crate::domain::{Clock, Random};

/// Where the service is, and how to serve REST for it.
#[derive(Args)]
#[command(after_help = "\
Answers are those of the service's own REST surface, byte for byte. The
gateway has no key of its own: it sends on each request's Authorization,
x-organization-id, traceparent, tracestate and grpc-timeout. An entry without
an id gets one before it is first sent, so that a broken connection is tried
again safely.

Examples:
  auditlog gateway --upstream http://127.0.0.1:8080
  auditlog gateway --upstream https://auditlog.internal --listen 0.0.0.0:8081
  auditlog gateway --upstream http://127.0.0.1:8080 --metrics-listen 127.0.0.1:9465")]
pub struct Gateway {
    /// The gRPC service, http:// or https://.
    #[arg(long, env = "AUDITLOG_UPSTREAM", hide_env_values = true, value_parser = client::endpoint, value_name = "URL", required = true)]
    upstream: Endpoint,
    /// Where to listen, host:port; port 0 takes a free one and logs it.
    #[arg(long, env = "AUDITLOG_LISTEN", value_parser = super::serve::address, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    listen: String,
    #[command(flatten)]
    serving: Serving,
}

impl Gateway {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { upstream, listen, serving } = self;
        let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
        info!(version, upstream = %upstream.uri(), address = listen, pid, "starting");
        let parts = Parts { upstream: client::prepared(&upstream)?, clock: Clock::system(), random: Random::system() };
        let signals = Signals::heard()?;
        serve::until_signal(gateway::start(parts, serving.at(listen)).await?, signals).await
    }
}
