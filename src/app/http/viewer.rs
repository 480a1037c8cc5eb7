//! The viewer: web pages in the binary, served as they are. They call REST with the API key of their reader, so the
//! files themselves need no key.

use std::io::Write;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    LOCATION, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use crate::domain::hex;
use crate::rest::ErrorResponse;

/// A file of `viewer/`: name, content type and content.
type ListedFile = (&'static str, &'static str, &'static [u8]);

static FILES: &[ListedFile] = include!(concat!(env!("OUT_DIR"), "/viewer.rs"));
/// The page itself. The other files are its assets.
const INDEX: &str = "index.html";
/// The text of the page that stands for the directory of its assets.
const BASE: &str = "{{base}}";
const ASSETS: &str = "/viewer/assets/";

/// Entries are hostile. Nothing but these files runs in the page, and nothing leaves it but calls of this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";
static SECURITY_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Caching of an asset. Its path has the hash of all files, so its content never changes.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// Caching of the page: browsers ask each time whether it has changed.
const REVALIDATE: &str = "no-cache";

/// Compressed once for the process, when the first reader comes.
static VIEWER: LazyLock<Viewer> = LazyLock::new(|| Viewer::of(FILES));

/// The routes of the viewer.
pub(in crate::app) fn routes() -> Router {
    Router::new()
        .route("/viewer", get(redirect))
        .route("/viewer/", get(index))
        .route("/viewer/assets/{hash}/{file}", get(asset))
        .route_layer(map_response(secured))
}

/// Adds the security headers, also to errors and redirects.
async fn secured(mut response: Response) -> Response {
    for (name, value) in &SECURITY_HEADERS {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// The relative paths of the page need the slash at the end.
async fn redirect(request: Request) -> Response {
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    match HeaderValue::from_str(&format!("/viewer/{query}")) {
        Ok(location) => {
            let caching = HeaderValue::from_static(REVALIDATE);
            (StatusCode::PERMANENT_REDIRECT, [(LOCATION, location), (CACHE_CONTROL, caching)]).into_response()
        }
        // A query with bytes that no header may have.
        Err(_) => ErrorResponse::no_route(&request).into_response(),
    }
}

async fn index(request: Request) -> Response {
    let Viewer { hash, index, assets: _ } = &*VIEWER;
    let mut response = match has_tag(request.headers(), hash) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => index.response(request.headers()),
    };
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from(ACCEPT_ENCODING));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(REVALIDATE));
    // Weak, because the compressed page has the same tag. Hex digits are always a valid value.
    if let Ok(tag) = HeaderValue::from_str(&format!("W/\"{hash}\"")) {
        headers.insert(ETAG, tag);
    }
    response
}

async fn asset(request: Request) -> Response {
    let path = request.uri().path().strip_prefix(ASSETS).and_then(|rest| rest.split_once('/'));
    match path.and_then(|(hash, name)| VIEWER.asset(hash, name)) {
        Some(file) => {
            let mut response = file.response(request.headers());
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(FOREVER));
            response
        }
        None => ErrorResponse::no_route(&request).into_response(),
    }
}

/// The files, ready to be sent.
struct Viewer {
    /// A prefix of the SHA-256 of all files, in hex.
    hash: String,
    index: ViewerFile,
    /// By name.
    assets: Vec<(&'static str, ViewerFile)>,
}

struct ViewerFile {
    content_type: &'static str,
    plain: Bytes,
    /// `None` if compression does not make it smaller.
    gzip: Option<Bytes>,
}

impl Viewer {
    /// Errors: none. build.rs checks that `files` has the page.
    fn of(files: &[ListedFile]) -> Self {
        let mut hash = Sha256::new();
        for (name, _, content) in files.iter().copied() {
            for part in [name.as_bytes(), content] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        let hash = hex(&hash.finalize()[..8]);
        let (pages, assets): (Vec<_>, Vec<_>) = files.iter().copied().partition(|(name, ..)| *name == INDEX);
        let page: String = pages.iter().map(|(_, _, content)| String::from_utf8_lossy(content)).collect();
        let page = page.replace(BASE, &format!("assets/{hash}"));
        let file = |(name, content_type, content)| (name, ViewerFile::new(content_type, Bytes::from_static(content)));
        let assets = assets.into_iter().map(file).collect();
        Self { index: ViewerFile::new("text/html; charset=utf-8", page.into()), assets, hash }
    }

    fn asset(&self, hash: &str, name: &str) -> Option<&ViewerFile> {
        let found = self.assets.iter().find(|(known, _)| *known == name);
        found.filter(|_| hash == self.hash).map(|(_, file)| file)
    }
}

impl ViewerFile {
    fn new(content_type: &'static str, plain: Bytes) -> Self {
        let gzip = compressed(&plain).filter(|gzip| gzip.len() < plain.len());
        Self { content_type, plain, gzip }
    }

    /// The file in an encoding that a client with `headers` accepts.
    fn response(&self, headers: &HeaderMap) -> Response {
        let gzip = self.gzip.clone().filter(|_| accepts_gzip(headers));
        let coding = gzip.is_some().then(|| HeaderValue::from_static("gzip"));
        let mut response = gzip.unwrap_or_else(|| self.plain.clone()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(VARY, HeaderValue::from(ACCEPT_ENCODING));
        if let Some(coding) = coding {
            headers.insert(CONTENT_ENCODING, coding);
        }
        response
    }
}

/// `None` if the encoder fails, which it does not in memory.
fn compressed(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// The parts of a header that is a list, without white space around them.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether gzip is accepted by name. Source: RFC 9110, section 12.5.3.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    list(headers, ACCEPT_ENCODING).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        // A weight of 0 refuses a coding.
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        is_gzip && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

/// Whether `If-None-Match` has `tag`. Source: RFC 9110, section 13.1.2.
fn has_tag(headers: &HeaderMap, tag: &str) -> bool {
    list(headers, IF_NONE_MATCH).any(|sent| {
        let quoted = sent.strip_prefix("W/").unwrap_or(sent);
        sent == "*" || quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) == Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().copied().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn gzip_is_used_where_a_client_names_it() {
        for (values, expected) in [
            (&["gzip"][..], true),
            (&[], false),
            (&["GZIP;q=1"], true),
            (&["br;q=1.0, gzip; q=0.5"], true),
            (&["br", "gzip"], true),
            (&["gzip;q=0"], false),
            (&["gzip; Q=0.000"], false),
            (&["gzip;q=x"], false),
            (&["x-gzipped, identity"], false),
            (&["*"], false),
        ] {
            assert_eq!(accepts_gzip(&with(ACCEPT_ENCODING, values)), expected, "{values:?}");
        }
    }

    #[test]
    fn a_tag_is_compared_weakly() {
        for (values, expected) in [
            (&["W/\"ab12\""][..], true),
            (&[], false),
            (&["\"ab12\""], true),
            (&["\"x\", W/\"ab12\""], true),
            (&["\"x\"", "\"ab12\""], true),
            (&["*"], true),
            (&["ab12"], false),
            (&["\"ab1\""], false),
        ] {
            assert_eq!(has_tag(&with(IF_NONE_MATCH, values), "ab12"), expected, "{values:?}");
        }
    }

    #[test]
    fn the_hash_changes_with_each_name_and_content() {
        let viewer = |name: &'static str, content: &'static str| {
            let page = "<script src=\"{{base}}/a.js\">";
            Viewer::of(&[(INDEX, "text/html", page.as_bytes()), (name, "text/javascript", content.as_bytes())])
        };
        let viewers = [viewer("a.js", "1"), viewer("a.js", "2"), viewer("b.js", "1")];
        for viewer in &viewers {
            assert_eq!(viewer.index.plain, format!("<script src=\"assets/{}/a.js\">", viewer.hash));
            assert!(viewer.asset(&viewer.hash, INDEX).is_none() && viewer.asset("", "a.js").is_none());
        }
        let [one, other, renamed] = viewers;
        assert!(one.hash != other.hash && one.hash != renamed.hash && other.hash != renamed.hash);
        assert!(one.asset(&one.hash, "a.js").is_some() && one.asset(&other.hash, "a.js").is_none());
    }
}
