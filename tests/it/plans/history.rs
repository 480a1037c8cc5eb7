//! The statements of the history of resources: each reads its index in order, from the right position.

use auditlog::domain::{
    EntryId, Identifier, Limit, Minutes, OrganizationId, Position, PositionRange, ResourceKey, ResourceType, Timestamp,
};
use auditlog::query::Query;
use auditlog::store::IndexScan;

use super::reader::{Plan, Reader};
use super::{ID, LARGE, PRIMARY, RESOURCE, TIME, USER, check, is_page, listing, shape};
use crate::support::Service;

const TRACE: &str = "audit_logs_trace";
/// The last number that the statements look at.
const HEAD: i64 = 70_000;

fn id(text: &str) -> Identifier {
    Identifier::parse(text).expect("an id")
}

/// The plan of the only statement since the last call.
async fn plan(reader: &mut Reader) -> Plan {
    let mut plans = reader.plans().await;
    assert_eq!(plans.len(), 1, "one statement: {plans:?}");
    plans.remove(0)
}

/// Entries of one resource, of all resources of a type, and of users and traces.
async fn check_streams(service: &Service, reader: &mut Reader, organization: &OrganizationId) {
    let store = &service.store;
    let middle = Position { timestamp: Timestamp::saturating(1_700_040_000_000_000), seq: 40_000 };
    for (code, name, after) in [(0, "hot", Position::START), (0, "hot", middle), (3, "rare", Position::START)] {
        let resource = ResourceKey { resource_type: ResourceType(code), id: id(name) };
        store.resource_entries(organization, &resource, after, HEAD, 100).await.expect("read");
        check(&plan(reader).await, 2_000, |_| RESOURCE);
    }
    let hot = id("hot");
    for (code, after) in [(0, None), (0, Some((&hot, middle))), (3, None), (6, None)] {
        store.entries_by_resource(organization, ResourceType(code), after, HEAD, 100).await.expect("read");
        check(&plan(reader).await, 2_000, |_| RESOURCE);
    }
    let span = PositionRange { after: middle, to: Position::END };
    let (user, trace) = (IndexScan::Users(vec![id("hot")]), IndexScan::Traces(vec![id("trace_1")]));
    for (scan, index) in [(user, USER), (trace, TRACE)] {
        store.stream_resources(organization, &scan, span, HEAD, 1_000).await.expect("read");
        check(&plan(reader).await, 5_000, |_| index);
    }
}

/// The entries around an entry, by the index of times: towards each side no more than are shown. Their number comes from
/// running counts, although the window has thousands of entries.
async fn check_surroundings(service: &Service, reader: &mut Reader, organization: &OrganizationId) {
    let shape = shape("", TIME, TIME, 5_000);
    let (minutes, limit) = (Minutes::parse(Some(1_440)).expect("minutes"), Limit::parse(Some(10)).expect("a limit"));
    let query = Query::new(service.store.clone());
    for number in [1, 40_000, 81_400] {
        let id = EntryId::parse(format!("e{number}")).expect("an id");
        let found = query.around("key", organization, &id, minutes, None, limit).await.expect("read").page;
        assert!(found.entries.len() == 10 && found.entries.iter().any(|entry| entry.content.id == id), "{found:?}");
        assert!(found.total > 20_000, "{}", found.total);
        let plans = reader.plans().await;
        let pages: Vec<_> = plans.iter().filter(|plan| is_page(&plan.statement)).collect();
        assert_eq!(pages.len(), 2, "one statement for each side: {plans:?}");
        pages.iter().for_each(|plan| assert!(plan.rows <= 10, "{}", plan.text));
        for plan in &plans {
            check(plan, shape.rows, |scan| match scan.alias.as_str() {
                "audit_logs" => ID,
                _ => listing(&shape, &plan.statement, scan),
            });
        }
    }
}

pub async fn check_histories(service: &Service, reader: &mut Reader) {
    let (organization, store) = (OrganizationId::parse(LARGE).expect("an id"), &service.store);
    reader.plans().await;
    check_streams(service, reader, &organization).await;
    check_surroundings(service, reader, &organization).await;
    let seqs: Vec<_> = (1..=100).map(|number| number * 300).collect();
    assert_eq!(store.entries_numbered(&organization, &seqs).await.expect("read").len(), seqs.len());
    check(&plan(reader).await, 100, |_| PRIMARY);
    assert_eq!(store.numbered_resources(&organization, 40_000, 50_000).await.expect("read").len(), 10_000);
    check(&plan(reader).await, 10_000, |_| PRIMARY);
    let ids: Vec<_> = [1, 2].map(|number| EntryId::parse(format!("e{number}")).expect("an id")).into();
    assert_eq!(store.resources_of_ids(&organization, &ids).await.expect("read").len(), ids.len());
    check(&plan(reader).await, 2, |_| ID);
}
