//! The background job that looks for new breaks of continuity: what it counts, and what it logs.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auditlog::app::Options;
use auditlog::domain::Clock;
use auditlog::grpc::pb::{AuditLogInput, WriteAuditLogsRequest};
use auditlog::history::ContinuityMonitor;
use auditlog::metrics::Metrics;
use futures::FutureExt;
use tracing::instrument::WithSubscriber;

use super::{ORG, SCOPES, Started, change, entry};
use crate::support::database::execute;
use crate::support::ingest::organization;
use crate::support::metrics::{Seen, comes_to};
use crate::support::service::{options, with_key};
use crate::support::{Backend, Database, Process, Service, TIMEOUT, on_every_database};

const ORDER: &str = r#"auditlog_continuity_breaks_total{class="order"}"#;
const UNEXPLAINED: &str = r#"auditlog_continuity_breaks_total{class="unexplained"}"#;

/// The numbers of breaks of the classes `order` and `unexplained`.
fn counts(seen: &Seen) -> [Option<f64>; 2] {
    [ORDER, UNEXPLAINED].map(|series| seen.value(series))
}

fn counts_of(metrics: &Metrics) -> [Option<f64>; 2] {
    counts(&Seen(metrics.text().expect("text")))
}

/// An update of the limit of a rule.
fn limit(rule: &str, time: &str, old: &str, new: &str) -> AuditLogInput {
    let (id, resource) = (format!("{rule}_{}", time.replace(':', "")), format!("rule {rule}"));
    entry(&id, &resource, "updated", "uid_user123", time, vec![change("limit", old, new)])
}

/// Two updates of a rule, between which something else changed it.
fn broken(rule: &str) -> Vec<AuditLogInput> {
    vec![limit(rule, "10:00:00", "1", "\"hunter2\""), limit(rule, "11:00:00", "3", "4")]
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("UTF-8")
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

on_every_database! {
    async fn a_service_counts_the_breaks_that_come_after_its_start(database: &Database) {
        let before = Started::with(database, broken("r_1")).await;
        assert!(!Seen::of(&before.service).await.0.contains("continuity"), "it is off by default");
        before.service.stop().await;
        let options = Options { continuity_checks: Some(Duration::from_millis(100)), ..options() };
        let service = Service::start_with(database, Clock::system(), options).await;
        let key = service.key(Some(ORG), &SCOPES).await;
        let started = Started { service, key };
        let seen = comes_to(&started.service, r#"auditlog_job_runs_total{name="continuity"}"#, |runs| runs > 1.0).await;
        assert_eq!(counts(&seen), [Some(0.0), Some(0.0)], "the breaks of before are not new");
        started.write(vec![limit("r_1", "12:00:00", "5", "6")]).await;
        let seen = comes_to(&started.service, UNEXPLAINED, |count| count > 0.0).await;
        assert_eq!(counts(&seen), [Some(0.0), Some(1.0)]);
        // The last one came late.
        let late = [("10:00:00", "1", "2"), ("12:00:00", "2", "3"), ("11:00:00", "3", "4")];
        started.write(late.map(|(time, old, new)| limit("r_2", time, old, new)).to_vec()).await;
        let seen = comes_to(&started.service, ORDER, |count| count > 0.0).await;
        assert_eq!(counts(&seen), [Some(2.0), Some(1.0)]);
        assert_eq!(seen.value(r#"auditlog_job_failures_total{name="continuity"}"#), Some(0.0));
        started.service.stop().await;
    }

    async fn a_new_break_is_logged_by_its_organization_and_numbers_alone(database: &Database) {
        let (metrics, log) = (Metrics::default(), Log::default());
        let started = Started::with(database, broken("r_0")).await;
        let (store, org) = (&started.service.store, organization(ORG));
        let mut monitor = ContinuityMonitor::new(store.clone(), metrics.continuity_breaks());
        monitor.step().await.expect("it meets the organization");
        started.write((1..=13).flat_map(|number| broken(&format!("r_{number}"))).collect()).await;
        // The reads of one key hold all permits.
        let mut held = Vec::new();
        while let Some(permit) = store.read_permit("reader", &org).now_or_never() {
            held.push(permit.expect("a permit"));
        }
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let step = tokio::time::timeout(TIMEOUT, monitor.step().with_subscriber(subscriber)).await;
        step.expect("it takes no permit").expect("it checks");
        drop(held);
        assert_eq!(counts_of(&metrics), [Some(0.0), Some(13.0)]);
        let text = log.text();
        let lines = text.lines().filter_map(|line| Some(line.split_once(" WARN auditlog::history::monitor: ")?.1));
        let lines: Vec<_> = lines.collect();
        let message = "a change found another value than the one written before it organization=org_a";
        let (last, breaks) = lines.split_last().expect("lines");
        assert_eq!(*last, "more changes found another value than the one written before breaks=3");
        assert_eq!(breaks.len(), 10, "{text}");
        assert_eq!(breaks[0], format!("{message} earlier=3 later=4"));
        assert!(breaks.iter().all(|line| line.starts_with(&format!("{message} earlier="))), "{text}");
        let said = lines.concat();
        for personal in ["hunter2", "limit", "rule", "r_1", "uid_"] {
            assert!(!said.contains(personal), "{personal}: {said}");
        }
        monitor.step().await.expect("nothing is new");
        assert_eq!(counts_of(&metrics), [Some(0.0), Some(13.0)]);
        started.service.stop().await;
    }

    async fn a_check_that_fails_delays_no_other_and_is_repeated(database: &Database) {
        let started = Started::with(database, vec![limit("r_0", "09:00:00", "1", "2")]).await;
        let metrics = Metrics::default();
        let other = started.service.key(Some("org_b"), &SCOPES).await;
        let mut monitor = ContinuityMonitor::new(started.service.store.clone(), metrics.continuity_breaks());
        monitor.step().await.expect("it meets the organizations");
        started.write([broken("r_1"), broken("r_2")].concat()).await;
        let request = WriteAuditLogsRequest { organization_id: "org_b".to_owned(), audit_logs: broken("r_1") };
        started.service.grpc().await.write_audit_logs(with_key(request, &other)).await.expect("written");
        let set = |changes: &str| {
            format!("UPDATE audit_logs SET changes = '{changes}' WHERE organization_id = '{ORG}' AND seq = 4")
        };
        execute(database, &set("no JSON")).await;
        let error = monitor.step().await.expect_err("an entry cannot be read").with_causes();
        assert!(error.contains("the continuity of org_a cannot be checked"), "{error}");
        assert_eq!(counts_of(&metrics), [Some(0.0), Some(1.0)], "that of org_b");
        execute(database, &set("[]")).await;
        monitor.step().await.expect("it checks all");
        assert_eq!(counts_of(&metrics), [Some(0.0), Some(2.0)], "and those of org_a that are left");
        started.service.stop().await;
    }

    async fn the_option_of_serve_starts_the_job(database: &Database) {
        for (switch, count) in [("on", Some(0.0)), ("off", None)] {
            let listen = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--drain-delay", "0s"];
            let service = Process::serve_with(&database.url, &[&listen[..], &["--continuity-checks", switch]].concat());
            let line = service.said.iter().find(|line| line.contains("serving metrics")).expect("it is logged");
            let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let address = event["address"].as_str().expect("an address");
            assert_eq!(counts(&Seen::at(&format!("http://{address}/metrics")).await), [count; 2], "{switch}");
            assert_eq!(service.terminate(), Some(0));
        }
    }
}
