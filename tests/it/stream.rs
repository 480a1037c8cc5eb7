//! `ExportAuditLogs`: pieces in order, up to the end of the log when the call began.

use std::collections::BTreeMap;

use auditlog::access::Scope;
use auditlog::domain::{Clock, Random};
use auditlog::grpc::pb::{AuditLogFilter, ExportAuditLogsRequest, ExportAuditLogsResponse, ReadEntriesRequest};
use serde_json::json;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::support::json::least;
use crate::support::log::verifier;
use crate::support::service::{all, with_key, write_large};
use crate::support::trail::{self, ENTRIES, ORGANIZATION};
use crate::support::{Backend, Database, Service, on_every_database};

fn of_types(resource_types: &[&str], organization: &str) -> ExportAuditLogsRequest {
    let resource_types = resource_types.iter().map(|name| (*name).to_owned()).collect();
    ExportAuditLogsRequest {
        filter: Some(AuditLogFilter { resource_types, ..Default::default() }),
        ..all(organization)
    }
}

/// Starts an export with gRPC's default limit of 4 MiB per message.
async fn begin(
    service: &Service,
    key: &str,
    request: ExportAuditLogsRequest,
) -> Result<Streaming<ExportAuditLogsResponse>, Status> {
    let mut client = service.grpc().await.max_decoding_message_size(4 * 1024 * 1024);
    client.export_audit_logs(with_key(request, key)).await.map(tonic::Response::into_inner)
}

async fn drain(mut stream: Streaming<ExportAuditLogsResponse>) -> Vec<ExportAuditLogsResponse> {
    let mut pieces = Vec::new();
    while let Some(piece) = stream.message().await.expect("a message of at most 4 MiB") {
        pieces.push(piece);
    }
    pieces
}

on_every_database! {
    async fn a_sparse_export_reports_how_far_it_has_scanned(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let service = Service::start(trail).await;
        let key = service.key(Some(ORGANIZATION), &[Scope::Read]).await;
        let rare = || of_types(&["mcp_configuration"], ORGANIZATION);
        let pieces = drain(begin(&service, &key, rare()).await.expect("it begins")).await;
        let sequences: Vec<_> = pieces.iter().map(|piece| piece.sequence).collect();
        assert!(sequences.is_sorted_by(|a, b| a < b) && sequences.last() == Some(&(ENTRIES as i64)), "{sequences:?}");
        assert!(sequences.len() >= 8 && pieces.iter().filter(|piece| piece.audit_logs.is_empty()).count() >= 7, "{sequences:?}");
        let found: Vec<_> = pieces.iter().flat_map(|piece| &piece.audit_logs).collect();
        assert_eq!(found.len(), 1);
        for (after_sequence, count) in [(found[0].sequence - 1, 1), (found[0].sequence, 0), (ENTRIES as i64, 0)] {
            let rest = drain(begin(&service, &key, ExportAuditLogsRequest { after_sequence, ..rare() }).await.expect("it begins")).await;
            assert_eq!(rest.iter().map(|piece| piece.audit_logs.len()).sum::<usize>(), count, "after {after_sequence}");
            assert_eq!(rest.last().map(|piece| (piece.sequence, piece.head_sequence)), Some((ENTRIES as i64, ENTRIES as i64)));
        }
    }

    async fn an_export_excludes_later_entries_and_its_messages_fit_the_size_limit(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Read, Scope::Write]).await;
        // Ten entries per request, far more than the buffers of a connection hold.
        for request in 0..12 {
            write_large(&service, &key, request * 10..request * 10 + 10).await;
        }
        let mut stream = begin(&service, &key, all("org_a")).await.expect("it begins");
        let first = stream.message().await.expect("a message").expect("not the end");
        write_large(&service, &key, 1_000..1_010).await;
        let pieces = [vec![first], drain(stream).await].concat();
        assert!(pieces.iter().all(|piece| piece.head_sequence == 120));
        assert_eq!(pieces.last().map(|piece| piece.sequence), Some(120));
        assert!(pieces.iter().all(|piece| piece.audit_logs.last().is_none_or(|last| last.sequence == piece.sequence)));
        let sequences: Vec<_> = pieces.iter().flat_map(|piece| &piece.audit_logs).map(|entry| entry.sequence).collect();
        assert_eq!(sequences, (1..=120).collect::<Vec<_>>());
        let now = drain(begin(&service, &key, ExportAuditLogsRequest { after_sequence: 120, ..all("org_a") }).await.expect("it begins")).await;
        assert_eq!(now.iter().map(|piece| piece.audit_logs.len()).sum::<usize>(), 10);
        let again = ExportAuditLogsRequest { after_sequence: 115, through_sequence: Some(120), ..all("org_a") };
        let again = drain(begin(&service, &key, again).await.expect("it begins")).await;
        assert_eq!(again.iter().flat_map(|piece| &piece.audit_logs).map(|entry| entry.sequence).collect::<Vec<_>>(), [116, 117, 118, 119, 120]);
    }

    async fn each_entry_of_an_export_has_its_leaf_hash(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &[Scope::Read, Scope::Write, Scope::Verify]).await;
        // After small entries, the service reads many at once, so that large ones fill several messages.
        let small: Vec<_> = (0..8).map(|number| least(&format!("small_{number}"))).collect();
        assert_eq!(service.post("/v1/org_a/audit-logs", &key, &json!({"auditLogs": small})).await.status, 201);
        write_large(&service, &key, 0..10).await;
        let request = ReadEntriesRequest { organization_id: "org_a".to_owned(), ..Default::default() };
        let entries = verifier(&service).await.read_entries(with_key(request, &key)).await;
        let (mut entries, mut leaves) = (entries.expect("it begins").into_inner(), BTreeMap::new());
        while let Some(piece) = entries.message().await.expect("a message") {
            leaves.extend(piece.entries.into_iter().map(|entry| (entry.sequence, entry.leaf_hash)));
        }
        assert_eq!(leaves.len(), 18);
        for after_sequence in [0, 9] {
            let request = ExportAuditLogsRequest { after_sequence, ..all("org_a") };
            let pieces = drain(begin(&service, &key, request).await.expect("it begins")).await;
            assert!(pieces.len() >= 3, "{} messages", pieces.len());
            let mut exported = BTreeMap::new();
            for piece in pieces {
                assert_eq!(piece.audit_logs.len(), piece.leaf_hashes.len());
                exported.extend(piece.audit_logs.iter().map(|entry| entry.sequence).zip(piece.leaf_hashes));
            }
            let expected: BTreeMap<_, _> = leaves.range(after_sequence + 1..).map(|(seq, leaf)| (*seq, leaf.clone())).collect();
            assert_eq!(exported, expected);
        }
    }

    async fn access_and_position_are_checked_before_an_export_starts(database: &Database) {
        let service = Service::start(database).await;
        let both = [Scope::Read, Scope::Write];
        let (key, foreign) = (service.key(Some("org_a"), &both).await, service.key(Some("org_b"), &both).await);
        let writer = service.key(Some("org_a"), &[Scope::Write]).await;
        write_large(&service, &key, 0..3).await;
        let asked = |after_sequence, through_sequence| ExportAuditLogsRequest { after_sequence, through_sequence, ..all("org_a") };
        let unknown_type = of_types(&["rule", "rul"], "org_a");
        for (request, key, code, field) in [
            (asked(-1, None), &key, Code::InvalidArgument, "after_sequence"),
            (asked(4, None), &key, Code::InvalidArgument, "after_sequence"),
            (asked(0, Some(-1)), &key, Code::InvalidArgument, "through_sequence"),
            (asked(0, Some(4)), &key, Code::InvalidArgument, "through_sequence"),
            (asked(3, Some(2)), &key, Code::InvalidArgument, "after_sequence"),
            (unknown_type, &key, Code::InvalidArgument, "filter.resource_types[1]"),
            (all(""), &key, Code::InvalidArgument, "organization_id"),
            (asked(-1, None), &foreign, Code::NotFound, ""),
            (all("org_none"), &key, Code::NotFound, ""),
            (asked(-1, None), &writer, Code::PermissionDenied, ""),
        ] {
            let status = begin(&service, key, request.clone()).await.expect_err("refused");
            let details = status.get_error_details();
            let fields: Vec<_> = details.bad_request().iter().flat_map(|bad| &bad.field_violations).map(|one| one.field.as_str()).collect();
            let expected: Vec<_> = Some(field).filter(|field| !field.is_empty()).into_iter().collect();
            assert_eq!((status.code(), fields), (code, expected), "{request:?}: {status:?}");
        }
        let anonymous = service.grpc().await.export_audit_logs(all("org_a")).await.expect_err("refused");
        assert_eq!(anonymous.code(), Code::Unauthenticated);
    }

    async fn an_export_ends_when_its_key_is_revoked(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let service = Service::start(trail).await;
        let key = service.key(Some(ORGANIZATION), &[Scope::Read]).await;
        let mut stream = begin(&service, &key, all(ORGANIZATION)).await.expect("it begins");
        stream.message().await.expect("a message").expect("not the end");
        assert!(service.store.revoke_key(&key[3..15], Clock::system().now(), &Random::system()).await.expect("it is revoked"));
        tokio::time::sleep(std::time::Duration::from_millis(5_500)).await;
        let status = loop {
            match stream.message().await {
                Ok(piece) => assert!(piece.is_some(), "all of it came"),
                Err(status) => break status,
            }
        };
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "The API key was revoked"));
    }

    async fn an_export_ends_when_the_service_drains(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let service = Service::start(trail).await;
        let key = service.key(Some(ORGANIZATION), &[Scope::Read]).await;
        let mut stream = begin(&service, &key, all(ORGANIZATION)).await.expect("it begins");
        stream.message().await.expect("a message").expect("not the end");
        let stopping = tokio::spawn(service.stop());
        let status = loop {
            match stream.message().await {
                Ok(piece) => assert!(piece.is_some(), "all of it came"),
                Err(status) => break status,
            }
        };
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "The service is shutting down; try again"));
        stopping.await.expect("the service stops");
    }
}
