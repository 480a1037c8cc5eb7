//! The attacks of hostile clients. Each runs for its given duration or until the service refuses it, and returns a
//! summary. It fails only if the service cannot be reached; other code checks the service meanwhile.

mod exhaustion;
mod frames;
mod http1;
mod http2;
mod messages;
pub mod siege;
pub mod tools;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::task::JoinSet;

/// The address to attack, with a key that has all scopes in one organization: the worst attacker is a client of ours.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub organization: String,
    pub key: String,
}

/// A marker that every attack puts into content that must not be logged.
pub const MARK: &str = "hostile-content-3f9c";

pub type Outcome = Pin<Box<dyn Future<Output = io::Result<String>> + Send>>;

/// A named attack.
pub struct Attack {
    pub name: &'static str,
    pub run: fn(Target, Duration) -> Outcome,
}

impl Attack {
    /// Whether the attacked resource exists in a gateway. A gateway looks up no keys, reads no entries and serves no
    /// streams.
    pub fn is_for_gateways(&self) -> bool {
        ["stalled_health_checks", "repeated_headers", "open_uploads"].contains(&self.name)
    }
}

macro_rules! attacks {
    ($($module:ident :: $name:ident),+ $(,)?) => {
        [$(Attack { name: stringify!($name), run: |target, duration| Box::pin($module::$name(target, duration)) }),+]
    };
}

/// The attacks of the fault `hostile`.
pub static ATTACKS: [Attack; 36] = attacks![
    http1::garbage,
    http1::bad_requests,
    http1::huge_headers,
    http1::connect_and_reset,
    http1::idle_connections,
    http1::half_prefaces,
    http1::slow_headers,
    http1::slow_bodies,
    http1::withheld_bodies,
    http1::unread_answers,
    http1::rest_bodies,
    http2::broken_frames,
    http2::rapid_reset,
    http2::pings,
    http2::unread_ping_acks,
    http2::settings,
    http2::priorities,
    http2::unknown_frames,
    http2::empty_data,
    http2::empty_continuations,
    http2::continuations,
    http2::hpack_bomb,
    http2::zero_window_updates,
    http2::window_overflow,
    http2::open_streams,
    http2::closed_windows,
    http2::closed_windows_of_exports,
    http2::dribbled_windows,
    http2::unread_lists,
    http2::huge_metadata,
    messages::withheld,
    messages::false_lengths,
    messages::broken_protobuf,
    messages::too_large,
    messages::many_empty_messages,
    messages::deep_json,
];

/// The attacks of external tools. Each name starts with the tool's name.
pub static TOOLS: [Attack; 7] = attacks![
    tools::h2load_lists,
    tools::h2load_writes,
    tools::h2load_http1,
    tools::slowhttptest_headers,
    tools::slowhttptest_bodies,
    tools::slowhttptest_reads,
    tools::slowhttptest_ranges,
];

/// The attacks of the fault `exhaustion`. No honest call may be refused during them.
pub static EXHAUSTION: [Attack; 6] = attacks![
    exhaustion::stalled_health_checks,
    exhaustion::repeated_headers,
    exhaustion::open_uploads,
    exhaustion::watched_health,
    exhaustion::made_up_keys,
    exhaustion::pairs_of_filters,
];

/// Runs `count` copies at once and summarizes their results, with counts. An error of a single connection is an
/// expected answer to an attack, so it is only reported.
async fn at_once<F>(count: usize, one: impl Fn(usize) -> F) -> io::Result<String>
where
    F: Future<Output = io::Result<String>> + Send + 'static,
{
    let mut all = JoinSet::new();
    for place in 0..count {
        all.spawn(one(place));
    }
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    while let Some(ended) = all.join_next().await {
        let said = ended.expect("an attack does not panic").unwrap_or_else(|error| format!("{:?}", error.kind()));
        *counts.entry(said).or_default() += 1;
    }
    let mut lines: Vec<_> = counts.into_iter().map(|(said, times)| format!("{times} × {said}")).collect();
    let more = lines.len().saturating_sub(3);
    lines.truncate(3);
    if more > 0 {
        lines.push(format!("{more} more"));
    }
    Ok(lines.join("; "))
}
