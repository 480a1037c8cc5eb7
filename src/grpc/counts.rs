//! Converts counts from protobuf messages and back.

use super::pb;
use super::wire::{audit_log_filter, time, unnamed};
use crate::domain::{Catalogue, Filter, GroupBy, Grouping, Identifier, MAX_GROUPINGS, Outcome, TimeBucket, Top, Zone};
use crate::error::{AtField, Error, Result};
use crate::query::{Buckets, EntryCounts};

/// Decodes a count: its filter, and how it is grouped.
pub fn count(request: pb::CountAuditLogsRequest, catalogue: &Catalogue) -> Result<(Filter, Grouping)> {
    let pb::CountAuditLogsRequest { organization_id: _, filter, by, time_zone, top } = request;
    let filter = audit_log_filter(filter.unwrap_or_default(), catalogue)?;
    let by = groupings(by)?;
    if !time_zone.is_empty() && !by.iter().any(|by| by.unit().is_some()) {
        return Err(Error::invalid("time_zone", "must not come without a unit of time to group by"));
    }
    let zone = Zone::parse(&time_zone).at("time_zone")?;
    let size = Top::parse(top).at("top")?;
    if top.is_some() && !by.iter().any(|by| by.is_top()) {
        return Err(Error::invalid("top", "must not come without users or resources to group by"));
    }
    Ok((filter, Grouping { by, zone, top: size }))
}

fn groupings(names: Vec<String>) -> Result<Vec<GroupBy>> {
    if names.len() > MAX_GROUPINGS {
        return Err(Error::invalid("by", format!("must be given at most {MAX_GROUPINGS} times, got {}", names.len())));
    }
    let mut groupings = Vec::with_capacity(names.len());
    for (place, name) in names.iter().enumerate() {
        let by = GroupBy::parse(name).and_then(|by| by.beside(&groupings)).at(format!("by[{place}]"))?;
        groupings.push(by);
    }
    Ok(groupings)
}

/// Encodes the result of a count.
pub fn counts(counts: EntryCounts, catalogue: &Catalogue) -> Result<pb::CountAuditLogsResponse> {
    let EntryCounts { total, head, groups } = counts;
    let counts = groups.into_iter().map(|(by, groups)| group_counts(by, groups, catalogue)).collect::<Result<_>>()?;
    Ok(pb::CountAuditLogsResponse { total, head_sequence: head, counts })
}

fn group_counts(by: GroupBy, groups: Buckets, catalogue: &Catalogue) -> Result<pb::AuditLogCounts> {
    let bucket = |value: Option<&str>, count: i64| pb::AuditLogBucket {
        value: value.map(str::to_owned),
        count,
        ..pb::AuditLogBucket::default()
    };
    let action = |code| catalogue.action_name(code).ok_or_else(unnamed);
    let resource_type = |code| catalogue.resource_type_name(code).ok_or_else(unnamed);
    let (buckets, other): (Result<Vec<_>>, _) = match groups {
        Buckets::Time(buckets) => (Ok(buckets.into_iter().map(time_bucket).collect()), None),
        Buckets::Actions(actions) => {
            (actions.into_iter().map(|(code, count)| Ok(bucket(Some(action(code)?), count))).collect(), None)
        }
        Buckets::ResourceTypes(types) => {
            (types.into_iter().map(|(code, count)| Ok(bucket(Some(resource_type(code)?), count))).collect(), None)
        }
        Buckets::Outcomes(outcomes) => {
            let named = |(outcome, count): (Option<Outcome>, i64)| bucket(outcome.map(Outcome::name), count);
            (Ok(outcomes.into_iter().map(named).collect()), None)
        }
        Buckets::Users { top, other } => {
            (Ok(top.into_iter().map(|(user, count)| bucket(Some(user.as_str()), count)).collect()), Some(other))
        }
        Buckets::Resources { top, other } => {
            let typed = |(code, id, count): (_, Identifier, i64)| {
                let resource_type = Some(resource_type(code)?.to_owned());
                Ok(pb::AuditLogBucket { resource_type, ..bucket(Some(id.as_str()), count) })
            };
            (top.into_iter().map(typed).collect(), Some(other))
        }
    };
    Ok(pb::AuditLogCounts { by: by.name().to_owned(), buckets: buckets?, other })
}

fn time_bucket((bucket, count): (TimeBucket, i64)) -> pb::AuditLogBucket {
    let TimeBucket { value, start, end } = bucket;
    let (start_time, end_time) = (Some(time(start)), Some(time(end)));
    pb::AuditLogBucket { value: Some(value), count, resource_type: None, start_time, end_time }
}
