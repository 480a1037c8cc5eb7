//! Checks of continuity: of one resource, of the organization, and in parts.

use auditlog::grpc::pb;
use serde_json::{Value, json};

use super::{RULE, contains, got, shown, started, write};
use crate::support::service::with_key;
use crate::support::surfaces::Surfaces;
use crate::support::{Backend, Database, on_every_database};

const CHECK: &str = "/v1/org_a/continuity";

/// All messages of a check.
async fn messages(
    surfaces: &Surfaces,
    key: &str,
    request: pb::CheckContinuityRequest,
) -> Vec<pb::CheckContinuityResponse> {
    let answer = surfaces.service.histories().await.check_continuity(with_key(request, key)).await;
    let mut stream = answer.expect("a check").into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await.expect("no error") {
        messages.push(message);
    }
    messages
}

/// Two entries of one resource, of which the second found another value than the first wrote. Each value has 150 KiB.
fn broken(resource: usize) -> Value {
    let value = |letter: &str| letter.repeat(150 * 1024);
    let entry = |number: usize, change: Value| {
        json!({
            "id": format!("log_large_{resource}_{number}"), "timestamp": format!("2025-02-01T10:00:0{number}Z"),
            "resourceType": "thread", "resourceId": format!("thread_{resource}"), "action": "updated", "userId": "dave",
            "changes": [change],
        })
    };
    json!([
        entry(1, json!({"field": "text", "newValue": value("a")})),
        entry(2, json!({"field": "text", "oldValue": value("b"), "newValue": 1})),
    ])
}

on_every_database! {
    async fn a_check_is_that_of_grpc_with_its_values_verbatim(database: &Database) {
        let (surfaces, key) = started(database).await;
        let all = pb::CheckContinuityRequest { organization_id: "org_a".to_owned(), ..Default::default() };
        let rule = pb::CheckContinuityRequest {
            resource_type: "rule".to_owned(),
            resource_id: "r1".to_owned(),
            ..all.clone()
        };
        let resource = format!("{RULE}/continuity");
        let found = got(&surfaces, &key, &resource).await;
        contains(&found, &[
            r#"{"breaks":[{"resourceType":"rule","resourceId":"r1","field":"name","earlierField":"name","earlier":{"sequence":1,"id":"log_1","timestamp":"2025-01-19T10:00:00Z","userId":"alice"},"later":{"sequence":4,"#,
            r#""written":"a","found":"x","class":"unexplained","explanation":""#,
            r#""asOfSequence":7,"resources":1,"entries":4,"compared":2,"notComparable":0,"breakCount":1,"orderBreakCount":0,"uncheckedResources":0,"complete":true,"summary":""#,
        ]);
        for (query, after_sequence, as_of_sequence, breaks) in
            [("", 0, None, 1), ("?after=3", 3, None, 1), ("?after=4", 4, None, 0), ("?asOf=3", 0, Some(3), 0), ("?after=4&asOf=4", 4, Some(4), 0)]
        {
            for (path, request) in [(resource.as_str(), &rule), (CHECK, &all)] {
                let request = pb::CheckContinuityRequest { after_sequence, as_of_sequence, ..request.clone() };
                let answer = got(&surfaces, &key, &format!("{path}{query}")).await.body();
                assert_eq!(answer["breaks"].as_array().map(Vec::len), Some(breaks), "{path}{query}");
                assert_eq!(answer, shown::continuity(messages(&surfaces, &key, request).await), "{path}{query}");
            }
        }
        let whole = got(&surfaces, &key, CHECK).await.body();
        assert_eq!((&whole["resources"], &whole["entries"], &whole["breakCount"]), (&json!(3), &json!(7), &json!(1)));
    }

    async fn a_check_of_an_organization_goes_on_with_its_token(database: &Database) {
        const RESOURCES: usize = 12;
        let (surfaces, key) = started(database).await;
        for resource in 0..RESOURCES {
            write(&surfaces.service, &key, json!({"auditLogs": broken(resource)}).to_string()).await;
        }
        let (mut query, mut found, mut parts) = (String::new(), Vec::new(), 0);
        let last = loop {
            let answer = got(&surfaces, &key, &format!("{CHECK}?after=4{query}")).await.body();
            found.extend(answer["breaks"].as_array().expect("breaks").iter().map(|one| one["resourceId"].clone()));
            parts += 1;
            if answer["complete"] == true {
                break answer;
            }
            assert!(answer.get("summary").is_none(), "{answer}");
            assert_eq!(answer["breakCount"], found.len(), "the numbers are those of all parts");
            let token = answer["resumeToken"].as_str().expect("a token").to_owned();
            assert_ne!(query, format!("&resume={token}"), "each part is a progress");
            query = format!("&resume={token}");
        };
        assert!(parts > 2, "{RESOURCES} breaks of 300 KiB are more than two parts");
        assert!(last.get("resumeToken").is_none() && last["summary"].is_string());
        assert_eq!((&last["breakCount"], &last["asOfSequence"]), (&json!(RESOURCES), &json!(7 + 2 * RESOURCES)));
        let mut expected: Vec<_> = (0..RESOURCES).map(|resource| json!(format!("thread_{resource}"))).collect();
        let by_text = |one: &Value| one.as_str().expect("an id").to_owned();
        expected.sort_by_key(by_text);
        found.sort_by_key(by_text);
        assert_eq!(found, expected, "each break comes once");
    }
}
