//! Sends one request to every surface: REST of the service, REST of a gateway in front of it, and gRPC.

use auditlog::app::{Limits, Serving, gateway};
use auditlog::domain::{Clock, Random, end_of_span, json_or_string, start_of_span};
use auditlog::grpc::{pb, wire};
use auditlog::rest::json::lines;
use base64::Engine;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::Endpoint;
use tonic_types::StatusExt;

use super::Service;
use super::service::serving;

/// A service with a gateway in front of it.
pub struct Surfaces {
    pub service: Service,
    gateway: auditlog::app::Running,
    http: reqwest::Client,
}

/// A REST request.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: Method,
    /// The path with its encoded query.
    pub path: String,
    pub headers: Vec<(&'static str, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// A REST answer.
#[derive(Debug, Clone, PartialEq)]
pub struct RawAnswer {
    pub status: u16,
    /// The headers that matter to a client.
    pub headers: Vec<(&'static str, String)>,
    pub text: String,
    pub bytes: Vec<u8>,
}

impl Ask {
    pub fn get(path: impl Into<String>, key: &str) -> Self {
        Self { method: Method::GET, path: path.into(), headers: vec![authorization(key)], body: Vec::new() }
    }

    pub fn post(path: impl Into<String>, key: &str, body: impl Into<Vec<u8>>) -> Self {
        let content_type = ("content-type", b"application/json".to_vec());
        let headers = vec![authorization(key), content_type];
        Self { method: Method::POST, path: path.into(), headers, body: body.into() }
    }
}

fn authorization(key: &str) -> (&'static str, Vec<u8>) {
    ("authorization", format!("Bearer {key}").into_bytes())
}

impl RawAnswer {
    async fn read(response: Response) -> Self {
        const TELLING: [&str; 5] = ["content-type", "cache-control", "retry-after", "www-authenticate", "allow"];
        let text = |headers: &HeaderMap, name: &str| Some(headers.get(name)?.to_str().expect("ASCII").to_owned());
        let headers = TELLING.into_iter().filter_map(|name| Some((name, text(response.headers(), name)?))).collect();
        let status = response.status().as_u16();
        let bytes = response.bytes().await.expect("a body").to_vec();
        Self { status, headers, text: String::from_utf8_lossy(&bytes).into_owned(), bytes }
    }

    pub fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("JSON: {}", self.text))
    }

    /// The code of the error, or `ok`.
    pub fn code(&self) -> String {
        self.body()["error"]["code"].as_str().unwrap_or("ok").to_owned()
    }
}

impl Surfaces {
    pub async fn start(service: Service) -> Self {
        Self::start_with(service, Limits::default()).await
    }

    /// Like [`Self::start`], with limits of the gateway.
    pub async fn start_with(service: Service, limits: Limits) -> Self {
        let upstream = Endpoint::from_shared(service.url("")).expect("a URL");
        let parts = gateway::GatewayParts { upstream, clock: Clock::system(), random: Random::system() };
        let gateway = gateway::start(parts, Serving { limits, ..serving() }).await.expect("the gateway starts");
        Self { service, gateway, http: reqwest::Client::new() }
    }

    /// Sends a request to the service and to the gateway. Returns the answer, which must be the same bytes on both.
    pub async fn rest(&self, ask: &Ask) -> RawAnswer {
        let direct = self.send(self.service.url(&ask.path), ask).await;
        let through = self.send(format!("http://{}{}", self.gateway.address, ask.path), ask).await;
        assert_eq!(direct, through, "service and gateway differ on {} {}", ask.method, ask.path);
        direct
    }

    pub fn gateway_url(&self) -> String {
        format!("http://{}", self.gateway.address)
    }

    /// Repeats a request at `url` until it is refused with status 429, and returns that answer.
    pub async fn refused(&self, url: &str, ask: &Ask) -> RawAnswer {
        for _ in 0..10_000 {
            let answer = self.send(format!("{url}{}", ask.path), ask).await;
            if answer.status == 429 {
                return answer;
            }
        }
        panic!("{} {} is never refused", ask.method, ask.path)
    }

    async fn send(&self, url: String, ask: &Ask) -> RawAnswer {
        let mut request = self.http.request(ask.method.clone(), url);
        for (name, value) in &ask.headers {
            request = request.header(*name, value.as_slice());
        }
        RawAnswer::read(request.body(ask.body.clone()).send().await.expect("an answer")).await
    }

    /// The gRPC answer to the same request, as REST formats it, or the code of the error. `None` if gRPC cannot express
    /// the request, for example an unknown parameter or an invalid date.
    pub async fn grpc(&self, path: &str, key: &str) -> Option<Result<String, String>> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let decode = |text: &str| {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
            Some(decoded.ok()?.into_owned())
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((decode(name)?, decode(&value.replace('+', " "))?))
        });
        let list = list(&pairs.collect::<Option<Vec<_>>>()?)?;
        let segments: Vec<_> = path.split('/').skip(2).map(decode).collect::<Option<_>>()?;
        let segments: Vec<_> = segments.iter().map(String::as_str).collect();
        let mut client = self.service.grpc().await;
        let page = match segments[..] {
            [organization, "audit-logs"] => {
                let list = pb::ListAuditLogsRequest { organization_id: organization.to_owned(), ..list };
                let page = client.list_audit_logs(super::service::with_key(list, key)).await;
                page.map(|page| page.into_inner()).map(|page| (page.audit_logs, page.pagination))
            }
            [segment, resource_id, "history"] => {
                let filter = list.filter.iter();
                if filter.flat_map(|filter| filter.resource_types.iter().chain(&filter.resource_ids)).next().is_some() {
                    return None;
                }
                let history = history(list, segment, resource_id);
                let page = client.get_resource_history(super::service::with_key(history, key)).await;
                page.map(|page| page.into_inner()).map(|page| (page.audit_logs, page.pagination))
            }
            [organization, "audit-logs", id] if query.is_empty() => {
                let get = pb::GetAuditLogRequest { organization_id: organization.to_owned(), id: id.to_owned() };
                let entry = client.get_audit_log(super::service::with_key(get, key)).await;
                return Some(entry.map_err(code).map(|entry| {
                    let entry = entry.into_inner().audit_log.expect("an entry");
                    lines_of(&[entry]).concat()
                }));
            }
            _ => return None,
        };
        Some(page.map_err(code).map(|(entries, pagination)| {
            let entries = lines_of(&entries).join(",");
            let pb::Pagination { total, limit, offset, has_more, next_cursor } = pagination.expect("pagination");
            let cursor = serde_json::to_string(&next_cursor).expect("JSON");
            format!(
                r#"{{"auditLogs":[{entries}],"pagination":{{"total":{total},"limit":{limit},"offset":{offset},"hasMore":{has_more},"nextCursor":{cursor}}}}}"#
            )
        }))
    }

    /// The gRPC answer to the entries of a REST body. `None` for an invalid body.
    pub async fn grpc_write(&self, organization: &str, key: &str, body: &[u8]) -> Option<Result<Value, Status>> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Body<'a> {
            #[serde(borrow)]
            audit_logs: Vec<&'a RawValue>,
        }
        // serde would accept an array as well.
        let Body { audit_logs } = serde_json::from_slice(body).ok().filter(|_| body.starts_with(b"{"))?;
        let input = |entry: &RawValue| Some(auditlog::rest::entry::decode(entry.get()).ok()?.1);
        let audit_logs = audit_logs.into_iter().map(input).collect::<Option<Vec<_>>>()?;
        let write = pb::WriteAuditLogsRequest { organization_id: organization.to_owned(), audit_logs };
        let written = self.service.grpc().await.write_audit_logs(super::service::with_key(write, key)).await;
        Some(written.map(|written| {
            let shown = |one: pb::WrittenAuditLog| {
                let recorded_at = auditlog::rest::json::time(one.recorded_at);
                let leaf_hash = base64::engine::general_purpose::STANDARD.encode(one.leaf_hash);
                json!({"id": one.id, "sequence": one.sequence, "recordedAt": recorded_at, "replayed": one.replayed, "leafHash": leaf_hash})
            };
            json!({"auditLogs": written.into_inner().audit_logs.into_iter().map(shown).collect::<Vec<_>>()})
        }))
    }
}

/// The REST code of a gRPC error.
pub fn code(status: Status) -> String {
    let details = status.get_details_error_info();
    details.unwrap_or_else(|| panic!("{status:?} has an ErrorInfo")).reason.to_lowercase()
}

/// A gRPC list request with REST's parameters. `None` if a parameter has no gRPC field.
pub fn list(pairs: &[(String, String)]) -> Option<pb::ListAuditLogsRequest> {
    let (mut list, mut filter) = (pb::ListAuditLogsRequest::default(), pb::AuditLogFilter::default());
    for (name, value) in pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())) {
        if value.is_empty() {
            return None;
        }
        let values = match name {
            "resourceType" => &mut filter.resource_types,
            "resourceId" => &mut filter.resource_ids,
            "action" => &mut filter.actions,
            "userId" => &mut filter.user_ids,
            "outcome" => &mut filter.outcomes,
            "actorType" => &mut filter.actor_types,
            "traceId" => &mut filter.trace_ids,
            single => match set_page(&mut list, single, value).or_else(|| set_filter(&mut filter, single, value))? {
                true => return None,
                false => continue,
            },
        };
        values.push(value.to_owned());
    }
    // A REST range is never empty; a gRPC range may be.
    let is_empty = filter
        .start_time
        .zip(filter.end_time)
        .is_some_and(|(start, end)| (start.seconds, start.nanos) == (end.seconds, end.nanos));
    list.filter = Some(filter);
    (!is_empty).then_some(list)
}

/// Sets the field of a parameter about the page. Returns whether it was set before. `None` if there is no such
/// parameter, or the value is not one.
fn set_page(list: &mut pb::ListAuditLogsRequest, name: &str, value: &str) -> Option<bool> {
    Some(match name {
        "limit" => list.limit.replace(plain(value)?).is_some(),
        "offset" => list.offset.replace(plain(value)?).is_some(),
        "cursor" => list.cursor.replace(value.to_owned()).is_some(),
        _ => return None,
    })
}

/// Like [`set_page`], for a parameter of the filter that may come once.
fn set_filter(filter: &mut pb::AuditLogFilter, name: &str, value: &str) -> Option<bool> {
    let text = value.to_owned();
    let json = || json_or_string(value);
    Some(match name {
        "startDate" => filter.start_time.replace(wire::time(start_of_span(value).ok()?)).is_some(),
        "endDate" => filter.end_time.replace(wire::time(end_of_span(value).ok()?)).is_some(),
        "recordedAfter" => filter.recorded_start_time.replace(wire::time(start_of_span(value).ok()?)).is_some(),
        "recordedBefore" => filter.recorded_end_time.replace(wire::time(start_of_span(value).ok()?)).is_some(),
        "changes.field" => filter.change.get_or_insert_default().field.replace(text).is_some(),
        "changes.oldValue" => filter.change.get_or_insert_default().old_value_json.replace(json()).is_some(),
        "changes.newValue" => filter.change.get_or_insert_default().new_value_json.replace(json()).is_some(),
        "userName" => filter.user_name.replace(text).is_some(),
        "userEmail" => filter.user_email.replace(text).is_some(),
        "resourceName" => filter.resource_name.replace(text).is_some(),
        "text" => filter.text.replace(text).is_some(),
        metadata => {
            let key = metadata.strip_prefix("metadata.").filter(|key| !key.is_empty())?;
            filter.metadata.insert(key.to_owned(), text).is_some()
        }
    })
}

/// Parses a number in the form that REST accepts.
fn plain<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

fn history(list: pb::ListAuditLogsRequest, segment: &str, resource_id: &str) -> pb::GetResourceHistoryRequest {
    let pb::ListAuditLogsRequest { organization_id: _, filter, limit, offset, cursor } = list;
    pb::GetResourceHistoryRequest {
        path_segment: segment.to_owned(),
        resource_id: resource_id.to_owned(),
        filter,
        limit,
        offset,
        cursor,
        ..Default::default()
    }
}

/// Each entry in the JSON form of REST.
fn lines_of(entries: &[pb::AuditLog]) -> Vec<String> {
    let text = String::from_utf8(lines(entries).expect("JSON values")).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

/// A gRPC error in the form of the snapshot.
pub fn shown_status(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details.error_info().map_or("-", |info| info.reason.as_str());
    let fields =
        details.bad_request().map(|bad| bad.field_violations.iter().map(|one| one.field.as_str()).collect::<Vec<_>>());
    format!("    gRPC {:?} {reason} {:?}\n", status.code(), fields.unwrap_or_default())
}
