//! The sample trail of 80,403 entries, and a database of each kind that contains it.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::process::{auditlog, create_key, output, text};
use super::{Backend, Database, Process};

pub const ORGANIZATION: &str = "org_bcd";
pub const ENTRIES: usize = 80_403;

pub fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/browser-compat-history.ndjson.gz")
}

/// The lines of the trail.
pub fn lines() -> &'static [String] {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    LINES.get_or_init(|| {
        let mut text = String::new();
        let packed = fs::File::open(path()).expect("the trail is there");
        GzDecoder::new(packed).read_to_string(&mut text).expect("the trail is gzip");
        text.lines().map(str::to_owned).collect()
    })
}

/// The database of `backend` with the whole trail, imported once for all tests. `None` without PostgreSQL.
pub async fn database(backend: Backend) -> Option<&'static Database> {
    static SQLITE: OnceCell<Option<Database>> = OnceCell::const_new();
    static POSTGRES: OnceCell<Option<Database>> = OnceCell::const_new();
    let cell = match backend {
        Backend::Sqlite => &SQLITE,
        Backend::Postgres => &POSTGRES,
    };
    let import = || async {
        let mut database = Database::fresh(backend).await?;
        if backend == Backend::Sqlite {
            // A static is never dropped, so the directory needs a fixed name that the next run can delete.
            let kept = super::database::temporary().join("trail");
            let _ = fs::remove_dir_all(&kept);
            fs::create_dir_all(&kept).expect("a directory");
            database.url = format!("sqlite://{}", kept.join("trail.db").display());
        }
        tokio::task::block_in_place(|| import_through_a_kill(&database.url));
        Some(database)
    };
    cell.get_or_init(import).await.as_ref()
}

/// Imports the trail. Kills the service in the middle, restarts it and repeats the import.
fn import_through_a_kill(url: &str) {
    let key = create_key(url, &["--organization", ORGANIZATION, "--scope", "read", "--scope", "write"]);
    let service = Process::serve(url);
    let mut import = auditlog()
        .args(["import", "--endpoint", &service.url("")])
        .arg(path())
        .env("AUDITLOG_API_KEY", &key)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the import starts");
    let begun = Instant::now();
    while stored(&service, &key) < 10_000 {
        assert!(begun.elapsed() < Duration::from_secs(120), "the import gets ahead");
        std::thread::sleep(Duration::from_millis(50));
    }
    service.kill();
    import.kill().expect("the import can be killed, which it need not be");
    import.wait().expect("the import ends");
    let service = Process::serve(url);
    // PostgreSQL may still be processing the last commit of the killed service.
    let mut before = stored(&service, &key);
    loop {
        std::thread::sleep(Duration::from_millis(300));
        match stored(&service, &key) {
            same if same == before => break,
            more => before = more,
        }
    }
    assert!((10_000..ENTRIES).contains(&before), "killed in the middle, at {before}");
    let again = output(
        ["import", "--endpoint", &service.url(""), path().to_str().expect("UTF-8")],
        &[("AUDITLOG_API_KEY", &key)],
    );
    assert!(again.status.success(), "{}", text(&again.stderr));
    let summary = text(&again.stdout).replace(',', "");
    let expected = format!("{} written {before} already there 0 skipped", ENTRIES - before);
    assert!(summary.starts_with(&expected), "{summary:?} begins with {expected:?}");
    let third = output(
        ["import", "--endpoint", &service.url(""), path().to_str().expect("UTF-8")],
        &[("AUDITLOG_API_KEY", &key)],
    );
    let summary = text(&third.stdout).replace(',', "");
    assert!(summary.starts_with(&format!("0 written {ENTRIES} already there 0 skipped")), "{summary:?}");
    assert_eq!(service.terminate(), Some(0));
}

/// The total of an unfiltered list.
fn stored(service: &Process, key: &str) -> usize {
    let url = service.url(&format!("/v1/{ORGANIZATION}/audit-logs?limit=1"));
    let page: Value = tokio::runtime::Handle::current().block_on(async {
        reqwest::Client::new().get(url).bearer_auth(key).send().await.expect("an answer").json().await.expect("JSON")
    });
    page["pagination"]["total"].as_u64().expect("a total") as usize
}
