//! Decodes query parameters into the fields of gRPC requests.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::export::ExportFormat;
use super::{ErrorResponse, rest_name};
use crate::domain::{
    GroupBy, Invalid, Minutes, Seq, Timestamp, did_you_mean, end_of_span, json_or_string, last_of_span, quoted,
    start_of_span,
};
use crate::grpc::pb::get_inclusion_proof_request::Entry;
use crate::grpc::{pb, wire};

/// Names of parameters, in the order in which errors list them.
pub(super) type ParameterNames = &'static [&'static [&'static str]];

/// The parameters of a list.
pub(super) const LIST: ParameterNames = &[&RESOURCE, &ACTIVITY, &PAGE, &SEARCH];
/// The parameters of a history. Its resource comes from the path.
pub(super) const HISTORY: ParameterNames = &[&ACTIVITY, &PAGE, &SEARCH];
/// The parameters of a feed.
pub(super) const FEED: ParameterNames = &[&RESOURCE, &ACTIVITY, &["after", "wait"], &SEARCH];
/// The parameters of an export.
pub(super) const EXPORT: ParameterNames = &[&["format"], &RESOURCE, &ACTIVITY, &["after", "through"], &SEARCH];
/// The parameters of counts.
pub(super) const COUNT: ParameterNames = &[&["by", "timeZone", "top"], &RESOURCE, &ACTIVITY, &SEARCH];
const RESOURCE: [&str; 2] = ["resourceType", "resourceId"];
const ACTIVITY: [&str; 4] = ["action", "userId", "startDate", "endDate"];
const PAGE: [&str; 3] = ["limit", "offset", "cursor"];
const SEARCH: [&str; 13] = [
    "outcome",
    "actorType",
    "traceId",
    "recordedAfter",
    "recordedBefore",
    "changes.field",
    "changes.oldValue",
    "changes.newValue",
    METADATA,
    "userName",
    "userEmail",
    "resourceName",
    "text",
];
/// The parameters for each key of the metadata, as errors show them.
pub(super) const METADATA: &str = "metadata.KEY";
const METADATA_PREFIX: &str = "metadata.";
/// The parameters of the state of a resource.
pub(super) const STATE: ParameterNames = &[&["at", "asOf", "field"]];
/// The parameters of a comparison of two states.
pub(super) const COMPARISON: ParameterNames = &[&["from", "to", "asOf", "field"]];
/// The parameters of a check of the continuity of one resource.
pub(super) const CONTINUITY: ParameterNames = &[&["after", "asOf"]];
/// The parameters of a check of the continuity of an organization.
pub(super) const ORGANIZATION_CONTINUITY: ParameterNames = &[&["after", "asOf", "resume"]];
/// The parameters of the entries around an entry.
pub(super) const AROUND: ParameterNames = &[&["minutes", "limit", "cursor"]];
/// The parameters of an inclusion proof.
pub(super) const INCLUSION: ParameterNames = &[&["id", "sequence", "size"]];
/// The parameters of a consistency proof.
pub(super) const CONSISTENCY: ParameterNames = &[&["firstSize", "secondSize"]];
/// The range of sequence numbers.
const NUMBERS: &str = "1 to 9223372036854775807";
const LIMITS: &str = "1 to 100";
/// The range of offsets and of log sizes.
const SIZES: &str = "0 to 9223372036854775807";
/// The longest that a feed waits. Proxies end requests after a minute or so.
pub const MAX_WAIT: Duration = Duration::from_secs(30);
const DEFAULT_WAIT: Duration = Duration::from_secs(20);

/// The parts of the path of a resource: the organization, the type and the id.
pub(super) type ResourcePath = (String, String, String);

/// Decoded names and values, in the order received.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Errors: a parameter is not `allowed`, is empty, or is not UTF-8. `form_urlencoded` is not used, because it
    /// silently replaces invalid UTF-8.
    pub(super) fn parse(query: Option<&str>, allowed: &[&[&str]]) -> Result<Self, ErrorResponse> {
        let allowed = allowed.concat();
        let mut pairs = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| {
                let text = text.replace('+', " ");
                percent_decode_str(&text).decode_utf8().map(String::from)
            };
            let name = decoded(name).map_err(|_| ErrorResponse::unknown_parameter(name, &allowed))?;
            let is_metadata =
                allowed.contains(&METADATA) && name.strip_prefix(METADATA_PREFIX).is_some_and(|key| !key.is_empty());
            if !is_metadata && !allowed.contains(&name.as_str()) {
                return Err(ErrorResponse::unknown_parameter(&name, &allowed));
            }
            let value = decoded(value)
                .map_err(|_| ErrorResponse::parameter(&name, format_args!("must be UTF-8, got {}", quoted(value))))?;
            if value.is_empty() {
                return Err(ErrorResponse::parameter(&name, "must not be empty; leave it out"));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The request for a list.
    pub(super) fn list(self, organization_id: String) -> Result<pb::ListAuditLogsRequest, ErrorResponse> {
        Ok(pb::ListAuditLogsRequest {
            organization_id,
            filter: Some(self.filter()?),
            limit: self.number("limit", LIMITS)?,
            offset: self.number("offset", SIZES)?,
            cursor: self.one("cursor")?.map(str::to_owned),
        })
    }

    /// The request for a history. Its organization comes from a header or the key.
    pub(super) fn history(
        self,
        path_segment: String,
        resource_id: String,
    ) -> Result<pb::GetResourceHistoryRequest, ErrorResponse> {
        Ok(pb::GetResourceHistoryRequest {
            organization_id: String::new(),
            resource_type: String::new(),
            path_segment,
            resource_id,
            filter: Some(self.filter()?),
            limit: self.number("limit", LIMITS)?,
            offset: self.number("offset", SIZES)?,
            cursor: self.one("cursor")?.map(str::to_owned),
        })
    }

    /// The request for a feed, and how long it may wait.
    pub(super) fn feed(self, organization_id: String) -> Result<(pb::FollowAuditLogsRequest, Duration), ErrorResponse> {
        let (filter, after_sequence) = (Some(self.filter()?), self.number("after", SIZES)?);
        Ok((pb::FollowAuditLogsRequest { organization_id, filter, after_sequence }, self.wait()?))
    }

    /// The request for an export, and its format.
    pub(super) fn export(
        self,
        organization_id: String,
    ) -> Result<(ExportFormat, pb::ExportAuditLogsRequest), ErrorResponse> {
        let format = self.one("format")?.map_or(Ok(ExportFormat::Ndjson), ExportFormat::parse)?;
        let message = pb::ExportAuditLogsRequest {
            organization_id,
            filter: Some(self.filter()?),
            after_sequence: self.number("after", SIZES)?.unwrap_or_default(),
            through_sequence: self.number("through", SIZES)?,
        };
        Ok((format, message))
    }

    fn wait(&self) -> Result<Duration, ErrorResponse> {
        let Some(text) = self.one("wait")? else { return Ok(DEFAULT_WAIT) };
        let wait = humantime::parse_duration(text).ok().filter(|wait| *wait <= MAX_WAIT);
        wait.ok_or_else(|| {
            let most = MAX_WAIT.as_secs();
            ErrorResponse::parameter("wait", format_args!("must be 0s to {most}s, got {}", quoted(text)))
        })
    }

    /// The request for counts.
    pub(super) fn count(self, organization_id: String) -> Result<pb::CountAuditLogsRequest, ErrorResponse> {
        Ok(pb::CountAuditLogsRequest {
            organization_id,
            filter: Some(self.filter()?),
            by: self.all("by").iter().map(|name| grouping(name)).collect::<Result<_, _>>()?,
            // A `+` that was not encoded, as in Etc/GMT+5, arrives as a space, which no name has.
            time_zone: self.one("timeZone")?.unwrap_or_default().replace(' ', "+"),
            top: self.number("top", LIMITS)?,
        })
    }

    /// The request for the state of a resource.
    pub(super) fn state(self, path: ResourcePath) -> Result<pb::GetResourceStateRequest, ErrorResponse> {
        let (organization_id, resource_type, resource_id) = path;
        Ok(pb::GetResourceStateRequest {
            organization_id,
            resource_type,
            resource_id,
            at: self.time("at", last_of_span)?.map(wire::time),
            as_of_sequence: self.number("asOf", SIZES)?,
            field_prefixes: self.all("field"),
        })
    }

    /// The request for a comparison of the states of a resource at two times.
    pub(super) fn comparison(self, path: ResourcePath) -> Result<pb::CompareResourceStatesRequest, ErrorResponse> {
        let (from, to) = (self.time("from", last_of_span)?, self.time("to", last_of_span)?);
        let from = from.ok_or_else(|| ErrorResponse::parameter("from", "is required"))?;
        if to.is_some_and(|to| from > to) {
            let (from, to) = (self.one("from")?.unwrap_or_default(), self.one("to")?.unwrap_or_default());
            let description = format!("must not be after to {}, got {}", quoted(to), quoted(from));
            return Err(ErrorResponse::parameter("from", description));
        }
        let (organization_id, resource_type, resource_id) = path;
        Ok(pb::CompareResourceStatesRequest {
            organization_id,
            resource_type,
            resource_id,
            from: Some(wire::time(from)),
            to: to.map(wire::time),
            as_of_sequence: self.number("asOf", SIZES)?,
            field_prefixes: self.all("field"),
        })
    }

    /// The request for a check of the continuity of a resource. An empty type and id are all resources.
    pub(super) fn continuity(self, path: ResourcePath) -> Result<pb::CheckContinuityRequest, ErrorResponse> {
        let (organization_id, resource_type, resource_id) = path;
        Ok(pb::CheckContinuityRequest {
            organization_id,
            resource_type,
            resource_id,
            as_of_sequence: self.number("asOf", SIZES)?,
            after_sequence: self.number("after", SIZES)?.unwrap_or_default(),
            resume_token: self.one("resume")?.unwrap_or_default().to_owned(),
        })
    }

    /// The request for the entries around the entry `id`.
    pub(super) fn around(
        self,
        organization_id: String,
        id: String,
    ) -> Result<pb::ListAuditLogsAroundRequest, ErrorResponse> {
        Ok(pb::ListAuditLogsAroundRequest {
            organization_id,
            id,
            minutes: self.number("minutes", &format!("{} to {}", Minutes::MIN, Minutes::MAX))?,
            limit: self.number("limit", LIMITS)?,
            cursor: self.one("cursor")?.map(str::to_owned),
        })
    }

    /// The filter of a list, a history, a feed, an export or a count.
    fn filter(&self) -> Result<pb::AuditLogFilter, ErrorResponse> {
        let (start_time, end_time) = self.times()?;
        let text = |name: &str| Ok::<_, ErrorResponse>(self.one(name)?.map(str::to_owned));
        let json = |name: &str| Ok::<_, ErrorResponse>(self.one(name)?.map(json_or_string));
        let change = pb::ChangeFilter {
            field: text("changes.field")?,
            old_value_json: json("changes.oldValue")?,
            new_value_json: json("changes.newValue")?,
        };
        Ok(pb::AuditLogFilter {
            resource_types: self.all("resourceType"),
            resource_ids: self.all("resourceId"),
            actions: self.all("action"),
            user_ids: self.all("userId"),
            start_time,
            end_time,
            outcomes: self.all("outcome"),
            actor_types: self.all("actorType"),
            trace_ids: self.all("traceId"),
            recorded_start_time: self.time("recordedAfter", start_of_span)?.map(wire::time),
            recorded_end_time: self.time("recordedBefore", start_of_span)?.map(wire::time),
            change: Some(change),
            metadata: self.metadata()?,
            user_name: text("userName")?,
            user_email: text("userEmail")?,
            resource_name: text("resourceName")?,
            text: text("text")?,
        })
    }

    /// The keys and values of the parameters `metadata.KEY`.
    fn metadata(&self) -> Result<BTreeMap<String, String>, ErrorResponse> {
        let mut pairs = BTreeMap::new();
        for (name, value) in &self.0 {
            let Some(key) = name.strip_prefix(METADATA_PREFIX) else { continue };
            if pairs.insert(key.to_owned(), value.clone()).is_some() {
                return Err(ErrorResponse::parameter(name, "must be given once, got 2 times"));
            }
        }
        Ok(pairs)
    }

    /// The request for an inclusion proof.
    pub(super) fn inclusion(self, organization_id: String) -> Result<pb::GetInclusionProofRequest, ErrorResponse> {
        let entry = match (self.one("id")?, self.number("sequence", NUMBERS)?) {
            (Some(_), Some(_)) => return Err(ErrorResponse::parameter("sequence", "must not come together with id")),
            (Some(id), None) => Entry::Id(id.to_owned()),
            (None, Some(sequence)) => Entry::Sequence(sequence),
            (None, None) => return Err(ErrorResponse::parameter("id", "is required, or sequence")),
        };
        let size = self.number("size", SIZES)?;
        Ok(pb::GetInclusionProofRequest { organization_id, entry: Some(entry), size })
    }

    /// The request for a consistency proof.
    pub(super) fn consistency(self, organization_id: String) -> Result<pb::GetConsistencyProofRequest, ErrorResponse> {
        let first_size = self.number("firstSize", SIZES)?;
        let first_size = first_size.ok_or_else(|| ErrorResponse::parameter("firstSize", "is required"))?;
        let second_size = self.number("secondSize", SIZES)?;
        Ok(pb::GetConsistencyProofRequest { organization_id, first_size, second_size })
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    fn one(&self, name: &str) -> Result<Option<&str>, ErrorResponse> {
        let mut values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        match (values.next(), values.count()) {
            (value, 0) => Ok(value),
            (_, more) => {
                Err(ErrorResponse::parameter(name, format_args!("must be given once, got {} times", more + 1)))
            }
        }
    }

    fn number<N: FromStr>(&self, name: &str, allowed: &str) -> Result<Option<N>, ErrorResponse> {
        self.one(name)?.map(|text| number(name, text, allowed)).transpose()
    }

    fn time(
        &self,
        name: &str,
        parse: fn(&str) -> Result<Timestamp, Invalid>,
    ) -> Result<Option<Timestamp>, ErrorResponse> {
        let read = |text| parse(text).map_err(|why| ErrorResponse::parameter(name, why));
        self.one(name)?.map(read).transpose()
    }

    /// `startDate` and `endDate` as a half-open range. Both are inclusive at the precision they were written in.
    fn times(&self) -> Result<(Option<prost_types::Timestamp>, Option<prost_types::Timestamp>), ErrorResponse> {
        let (start, end) = (self.time("startDate", start_of_span)?, self.time("endDate", end_of_span)?);
        if let (Some(from), Some(to)) = (start, end)
            && from >= to
        {
            let written = self.one("endDate")?.unwrap_or_default();
            let description = format!("must not be after endDate {}, got {from}", quoted(written));
            return Err(ErrorResponse::parameter("startDate", description));
        }
        Ok((start.map(wire::time), end.map(wire::time)))
    }
}

/// The number of an entry in a path.
pub(super) fn sequence(text: &str) -> Result<Seq, ErrorResponse> {
    number("sequence", text, NUMBERS)
}

fn number<N: FromStr>(name: &str, text: &str, allowed: &str) -> Result<N, ErrorResponse> {
    // Stricter than Rust, which accepts `+5`.
    let digits = text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| ErrorResponse::parameter(name, format_args!("must be {allowed}, got {}", quoted(text))))
}

/// The gRPC name of a grouping. Errors list the REST names.
fn grouping(name: &str) -> Result<String, ErrorResponse> {
    let known = GroupBy::ALL.map(|(name, _)| (rest_name(name), name));
    if let Some((_, found)) = known.iter().find(|(rest, _)| rest == name) {
        return Ok((*found).to_owned());
    }
    let names = || known.iter().map(|(rest, _)| rest.as_str());
    let (listed, hint) = (names().collect::<Vec<_>>().join(", "), did_you_mean(name, names()));
    Err(ErrorResponse::parameter("by", format_args!("must be one of {listed}, got {}{hint}", quoted(name))))
}
