//! Encodes counts as JSON.

use serde::Serialize;

use super::{json, rest_name};
use crate::grpc::pb;

/// The body of the answer to a count.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CountsBody {
    total: i64,
    head_sequence: i64,
    counts: Vec<GroupCountsBody>,
}

#[derive(Debug, Serialize)]
struct GroupCountsBody {
    by: String,
    buckets: Vec<BucketBody>,
    /// Only for users and resources.
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BucketBody {
    /// `null` for entries without an outcome.
    value: Option<String>,
    /// Only for resources.
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_type: Option<String>,
    /// Only for units of time, as is the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    count: i64,
}

/// Encodes `response`.
pub fn body(response: pb::CountAuditLogsResponse) -> CountsBody {
    let pb::CountAuditLogsResponse { total, head_sequence, counts } = response;
    let counts = counts.into_iter().map(|pb::AuditLogCounts { by, buckets, other }| {
        let buckets = buckets.into_iter().map(bucket).collect();
        GroupCountsBody { by: rest_name(&by), buckets, other }
    });
    CountsBody { total, head_sequence, counts: counts.collect() }
}

fn bucket(bucket: pb::AuditLogBucket) -> BucketBody {
    let pb::AuditLogBucket { value, count, resource_type, start_time, end_time } = bucket;
    BucketBody { value, resource_type, start: json::time(start_time), end: json::time(end_time), count }
}
