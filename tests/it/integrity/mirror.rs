//! Tiles: their paths and headers, and a monitor in Go that mirrors a log over HTTP.

use auditlog_verify::merkle::{TileId, unbundle};
use tonic::Code;

use super::{Log, ORGANIZATION, refusal};
use crate::support::database::execute;
use crate::support::go::go;
use crate::support::ingest::organization;
use crate::support::log::{sign_at, verifier_key};
use crate::support::process::text;
use crate::support::{Backend, Database, on_every_database};

/// Runs the monitor. Returns whether it succeeded, and its output. `None` without Go.
async fn mirrored(log: &Log) -> Option<(bool, String)> {
    let mut monitor = go("mirror/main.go")?;
    monitor
        .env("AUDITLOG_LOG", log.service.url(&format!("/v1/{ORGANIZATION}/log/")))
        .env("AUDITLOG_API_KEY", &log.key)
        .env("AUDITLOG_VERIFIER_KEY", verifier_key(&log.log_id).text());
    let output = tokio::task::spawn_blocking(move || monitor.output().expect("it runs")).await.expect("it ends");
    Some((output.status.success(), format!("{}{}", text(&output.stdout), text(&output.stderr))))
}

on_every_database! {
    async fn a_monitor_in_go_mirrors_the_log_and_sees_what_was_tampered_with(database: &Database) {
        let log = Log::with(database, 1_000).await;
        let Some((is_whole, said)) = mirrored(&log).await else { return };
        assert!(is_whole, "{said}");
        // Three full tiles of leaves, one of 232 leaves, and one of the level above.
        assert_eq!(said, "tiles 5\nentries 1000\nmirrored\n");
        for (statement, expected) in [
            ("UPDATE audit_logs SET user_name = 'another' WHERE seq = 700", "entry 700 is not that of the tree"),
            ("UPDATE log_tiles SET hashes = (SELECT hashes FROM log_tiles WHERE level = 0 AND tile_index = 1) \
              WHERE level = 0 AND tile_index = 2", "inconsistent tile"),
            ("DELETE FROM audit_logs WHERE seq = 1000", "500 Internal Server Error"),
        ] {
            execute(database, statement).await;
            let (is_whole, said) = mirrored(&log).await.expect("Go is there");
            assert!(!is_whole && said.contains(expected), "{statement}: {said}");
        }
    }

    async fn tiles_are_served_up_to_the_last_checkpoint(database: &Database) {
        let log = Log::with(database, 600).await;
        sign_at(database, &log.service, ORGANIZATION, 590).await;
        for (path, length) in [
            ("tile/0/000", Some(256)), ("tile/0/001", Some(256)), ("tile/0/002.p/78", Some(78)), ("tile/0/002.p/1", Some(1)),
            ("tile/0/000.p/1", Some(1)), ("tile/1/000.p/2", Some(2)), ("tile/1/000.p/1", Some(1)),
            ("tile/0/002.p/79", None), ("tile/0/002", None), ("tile/0/003.p/1", None), ("tile/1/000.p/3", None), ("tile/1/000", None),
            ("tile/2/000.p/1", None), ("tile/7/000", None), ("tile/0/x018/x446/x744/x073/x709/x551/615", None),
        ] {
            match (log.tile(path).await, length) {
                (Ok(data), Some(length)) => assert_eq!(data.len(), 32 * length, "{path}"),
                (Err(status), None) => assert_eq!(refusal(&status), (Code::NotFound, "TILE_NOT_FOUND".to_owned(), String::new()), "{path}"),
                (outcome, _) => panic!("{path}: {outcome:?}"),
            }
            let answer = log.service.get(&format!("/v1/{ORGANIZATION}/log/{path}"), &log.key).await;
            assert_eq!(answer.status, if length.is_some() { 200 } else { 404 }, "{path}: {}", answer.text);
        }
        for (path, count) in [("tile/entries/001", Some(256)), ("tile/entries/002.p/78", Some(78)), ("tile/entries/002.p/1", Some(1)), ("tile/entries/002.p/79", None), ("tile/entries/003.p/1", None)] {
            match (log.tile(path).await, count) {
                (Ok(bundle), Some(count)) => assert_eq!(unbundle(&bundle).expect("leaves").len(), count, "{path}"),
                (Err(status), None) => assert_eq!(refusal(&status).1, "TILE_NOT_FOUND", "{path}"),
                (outcome, _) => panic!("{path}: {outcome:?}"),
            }
        }
        for path in ["", "tile", "tile/0/0", "/tile/0/000", "tile/8/000", "tile/0/000.p/256", "tile/entries/00"] {
            let status = log.tile(path).await.expect_err("refused");
            let expected = format!("path: must be a path of C2SP tlog-tiles such as tile/0/x001/234.p/56, got {path:?}");
            assert_eq!(refusal(&status), (Code::InvalidArgument, "INVALID_PARAMETER".to_owned(), expected));
        }
        // The stored leaf hashes equal those of the leaves.
        let tiles = [0, 1, 2].map(|index| TileId { level: 0, index });
        let tiles = log.service.store.tiles(&organization(ORGANIZATION), &tiles.into(), 590).await.expect("read");
        let hashes: Vec<_> = tiles.values().flatten().copied().collect();
        let own: Vec<_> = log.leaves[..590].iter().map(|leaf| auditlog_verify::merkle::Hash::of_leaf(leaf)).collect();
        assert_eq!(hashes, own);
    }

    async fn immutable_responses_are_cacheable(database: &Database) {
        let log = Log::with(database, 300).await;
        let forever = "private, max-age=31536000, immutable";
        let (binary, json) = ("application/octet-stream", "application/json");
        for (path, status, content_type, caching) in [
            ("checkpoint", 200, "text/plain; charset=utf-8", "no-store"),
            ("tile/0/000", 200, binary, forever),
            ("tile/entries/000", 200, binary, forever),
            ("tile/0/001.p/44", 200, binary, "no-store"),
            ("tile/0/000.p/1", 200, binary, "no-store"),
            ("tile/entries/001.p/44", 200, binary, "no-store"),
            ("tile/0/001", 404, json, "no-store"),
            ("keys", 200, json, "no-store"),
            ("inclusion-proof?id=log_1", 200, json, "no-store"),
            ("consistency-proof?firstSize=1", 200, json, "no-store"),
        ] {
            let request = log.service.http.get(log.service.url(&format!("/v1/{ORGANIZATION}/log/{path}")));
            let response = request.bearer_auth(&log.key).send().await.expect("an answer");
            let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            assert_eq!((response.status().as_u16(), header("content-type"), header("cache-control")), (status, content_type, caching), "{path}");
        }
    }
}
