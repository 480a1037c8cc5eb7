//! The service's clock jumps forwards and backwards. libfaketime (Debian package `faketime`) reads the offset from a
//! file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use auditlog::domain::Clock;
use auditlog::grpc::pb::WriteAuditLogsRequest;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::Fault;
use crate::client::Protocol;
use crate::entry::Entry;
use crate::journal::Record;
use crate::scene::{Scene, Setting};

const FILE: &str = "clock";
/// Offsets from the true time, in seconds.
const JUMPS: [i64; 8] = [0, 3_600, -3_600, 86_400 * 400, 90, -86_400 * 30, 1, 0];
/// How long the load runs at each offset.
const LASTS: Duration = Duration::from_millis(700);
/// Seconds ahead of the clock. The service accepts a timestamp up to 5 minutes ahead.
const ALLOWED: i64 = 4 * 60;
const REFUSED: i64 = 6 * 60;

/// Finds the library, which is in no directory that the linker searches.
fn library() -> Option<PathBuf> {
    let places = fs::read_dir("/usr/lib").ok()?.filter_map(|place| Some(place.ok()?.path().join("faketime")));
    let libraries = places.chain([PathBuf::from("/usr/local/lib/faketime"), PathBuf::from("/usr/lib/faketime")]);
    libraries.map(|place| place.join("libfaketimeMT.so.1")).find(|library| library.exists())
}

pub fn setting(directory: &Path) -> anyhow::Result<Setting> {
    let library = library().context("there is no libfaketime: install Debian's package faketime")?;
    jump(directory, 0)?;
    let text = |path: PathBuf| path.into_os_string().into_string().map_err(|_| anyhow::anyhow!("a path is not UTF-8"));
    let environment = vec![
        ("LD_PRELOAD", text(library)?),
        ("FAKETIME_TIMESTAMP_FILE", text(directory.join(FILE))?),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // Timeouts use the monotonic clock, which must not jump.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    Ok(Setting { environment, ..Setting::default() })
}

/// Sets the offset atomically: half a file would be a different offset.
fn jump(directory: &Path, offset: i64) -> anyhow::Result<()> {
    let new = directory.join("clock.new");
    fs::write(&new, format!("{offset:+}\n"))?;
    Ok(fs::rename(new, directory.join(FILE))?)
}

pub async fn run(scene: &mut Scene) -> anyhow::Result<()> {
    for (place, offset) in JUMPS.into_iter().enumerate() {
        scene.load_runs().await?;
        jump(&scene.directory, offset)?;
        scene.happened();
        tokio::time::sleep(LASTS).await;
        ahead(scene, place, offset).await?;
        scene.check(Fault::Clock.excuses()).await?;
    }
    Ok(())
}

/// Checks that the service compares a client's timestamp with its current clock.
async fn ahead(scene: &mut Scene, place: usize, offset: i64) -> anyhow::Result<()> {
    let to = "org_hot".to_owned();
    let now = Clock::system().now().micros() + offset * 1_000_000;
    let mut random = StdRng::seed_from_u64(scene.seed());
    let mut entry = |name: &str, ahead: i64| Entry {
        timestamp: Some(now + ahead * 1_000_000),
        ..Entry::random(format!("clock.{name}.{place}"), &mut random)
    };
    let (early, late) = (entry("allowed", ALLOWED), entry("refused", REFUSED));
    let client = scene.services[0].client();
    let refused = WriteAuditLogsRequest { organization_id: to.clone(), audit_logs: vec![late.to_grpc()] };
    let refused = client.audit_logs().write_audit_logs(client.request(refused)).await;
    let code = refused.err().map(|status| status.code());
    ensure!(code == Some(tonic::Code::ResourceExhausted), "a time {REFUSED} s ahead, at {offset} s: {code:?}");
    let journal = &scene.load.shared.journal;
    journal.write(&Record::Intent { organization: to.clone(), entries: vec![early.clone()] }).await?;
    let written = client.write(Protocol::Grpc, &to, &[early]).await;
    let written = written.map_err(|trouble| anyhow::anyhow!("a time {ALLOWED} s ahead, at {offset} s: {trouble}"))?;
    // The jump must take effect: `recorded_at` is the faked time, or later if the log already has a later one.
    let recorded_at = written.first().context("an answer")?.recorded_at;
    ensure!(
        recorded_at > now - 5_000_000,
        "at {offset} s, an entry was recorded {} s before",
        (now - recorded_at) / 1_000_000
    );
    journal.write(&Record::Acknowledged { organization: to, written }).await
}
