//! Clients that upload repeatedly over connections that they keep open: curl, Node.js, Python's requests and tonic.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use auditlog::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use auditlog::grpc::pb::{AuditLogInput, Change, WriteAuditLogsRequest};
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::database;
use crate::support::process::PYTHON;
use crate::support::process::{program, text};
use crate::support::service::with_key;

/// The time limit of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an entry's value. An upload contains as many entries as its size needs.
pub const VALUE: usize = 100_000;

/// The address of a service.
#[derive(Debug, Clone)]
pub struct Origin {
    pub url: String,
    /// With TLS, the file of the certificate to trust.
    pub certificate: Option<PathBuf>,
}

/// How often each answer came, by status and error code, or a description of the failure.
pub type Answers = BTreeMap<String, usize>;

/// The HTTP version that curl uses.
#[derive(Debug, Clone, Copy)]
pub enum Version {
    Http1,
    Http2,
}

/// A REST upload that is repeated.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    pub method: &'static str,
    pub path: &'static str,
    pub key: &'a str,
    pub body: &'a Body,
    pub times: usize,
}

/// The same entries as REST and gRPC bodies.
#[derive(Debug)]
pub struct Body {
    directory: TempDir,
    grpc: WriteAuditLogsRequest,
}

impl Body {
    /// A body of at least `bytes` bytes.
    pub fn new(bytes: usize) -> Self {
        let values: Vec<_> = (0..bytes).step_by(VALUE).map(|start| "x".repeat(VALUE.min(bytes - start))).collect();
        let id = |place: usize| format!("log_{bytes}_{place}");
        let rest = |(place, value): (usize, &String)| {
            let mut entry = crate::support::json::least(&id(place));
            entry["changes"] = json!([{"field": "f", "newValue": value}]);
            entry
        };
        let grpc = |(place, value): (usize, &String)| AuditLogInput {
            id: id(place),
            resource_type: "rule".to_owned(),
            resource_id: "rule_1".to_owned(),
            action: "created".to_owned(),
            user_id: "uid_1".to_owned(),
            changes: vec![Change {
                field: "f".to_owned(),
                new_value_json: Some(format!("\"{value}\"")),
                old_value_json: None,
            }],
            ..Default::default()
        };
        let directory = tempfile::tempdir_in(database::temporary()).expect("a directory");
        let body = json!({"auditLogs": values.iter().enumerate().map(rest).collect::<Vec<_>>()});
        fs::write(directory.path().join("body"), body.to_string()).expect("a file");
        let audit_logs = values.iter().enumerate().map(grpc).collect();
        let grpc = WriteAuditLogsRequest { organization_id: super::ORGANIZATION.to_owned(), audit_logs };
        let message = grpc.encode_to_vec();
        let length = u32::try_from(message.len()).expect("short").to_be_bytes();
        fs::write(directory.path().join("message"), [&[0], &length[..], &message].concat()).expect("a file");
        Self { directory, grpc }
    }

    /// The file with the JSON body.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("body")
    }

    /// The file with the length-prefixed gRPC message.
    fn message(&self) -> PathBuf {
        self.directory.path().join("message")
    }
}

impl Origin {
    /// A gRPC channel, which keeps one connection.
    pub async fn grpc(&self) -> Channel {
        let mut endpoint = Endpoint::from_shared(self.url.clone()).expect("a URL").timeout(ANSWER_TIMEOUT);
        if let Some(certificate) = &self.certificate {
            let pem = fs::read(certificate).expect("PEM");
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
            endpoint = endpoint.tls_config(tls).expect("TLS");
        }
        endpoint.connect().await.expect("it connects")
    }

    /// The first of `programs` for which `check` succeeds, set to trust the certificate.
    fn client(&self, programs: &[&str], check: &[&str]) -> Option<Command> {
        let mut command = Command::new(program(programs, check)?);
        if let Some(certificate) = &self.certificate {
            command.envs(["NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"].map(|name| (name, certificate)));
        }
        Some(command)
    }

    /// Uploads with curl over one connection. `None` without curl; a message says so.
    pub fn curl(&self, version: Version, upload: Upload<'_>) -> Option<Answers> {
        let Upload { method, path, key, body, times } = upload;
        let request = format!(
            "request = {method}\ndata-binary = @{}\nheader = \"authorization: Bearer {key}\"\n\
             header = \"content-type: application/json\"\nwrite-out = \"%{{http_code}} %{{exitcode}}\\n\"\n",
            body.file().display()
        );
        self.transferred(version, path, &request, times, &|line, answer| match line.split_once(' ') {
            Some((status, "0")) => rest_outcome(status, answer),
            _ => format!("curl: status and error {line}"),
        })
    }

    /// Calls WriteAuditLogs with curl over one connection. It can only report refusals. `None` without curl; a message
    /// says so.
    pub fn curl_grpc(&self, body: &Body, key: &str, times: usize) -> Option<Answers> {
        let request = format!(
            "request = POST\ndata-binary = @{}\nheader = \"authorization: Bearer {key}\"\n\
             header = \"content-type: application/grpc\"\nheader = \"te: trailers\"\n\
             write-out = \"%{{exitcode}} %header{{grpc-status}} %header{{grpc-status-details-bin}}\\n\"\n",
            body.message().display()
        );
        let path = "/auditlog.v1.AuditLogService/WriteAuditLogs";
        self.transferred(Version::Http2, path, &request, times, &|line, _| {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["0", status, details] if !details.is_empty() => status.to_owned(),
                _ => format!("curl: error, status and details {line:?}"),
            }
        })
    }

    /// Repeats a request with curl. `answered` names an answer from the line of curl's `write-out` and the body.
    fn transferred(
        &self,
        version: Version,
        path: &str,
        request: &str,
        times: usize,
        answered: &dyn Fn(&str, &str) -> String,
    ) -> Option<Answers> {
        // curl 7.88 fails when it reuses its own connections with prior knowledge.
        if times > 1 && self.option(version) == "http2-prior-knowledge" {
            let mut answers = Answers::new();
            for _ in 0..times {
                let answered = self.transferred(version, path, request, 1, answered)?;
                answered.into_iter().for_each(|(answer, times)| *answers.entry(answer).or_default() += times);
            }
            return Some(answers);
        }
        let mut command = self.client(&["curl"], &["--version"])?;
        let directory = tempfile::tempdir_in(database::temporary()).expect("a directory");
        let answer = |number: usize| directory.path().join(number.to_string());
        // With an `expect` header, curl would wait for permission to send a large body.
        let common = format!(
            "url = {}{path}\n{request}header = \"expect:\"\nmax-time = {}\nsilent\n{}\n{}",
            self.url,
            ANSWER_TIMEOUT.as_secs(),
            self.option(version),
            self.certificate.as_ref().map_or(String::new(), |path| format!("cacert = {}\n", path.display())),
        );
        let transfer = |number: usize| format!("{common}output = {}\n", answer(number).display());
        let configuration = directory.path().join("configuration");
        fs::write(&configuration, (0..times).map(transfer).collect::<Vec<_>>().join("next\n")).expect("a file");
        let output = command.arg("--config").arg(configuration).output().expect("it runs");
        let mut answers = Answers::new();
        for (number, line) in text(&output.stdout).lines().enumerate() {
            let body = fs::read(answer(number)).unwrap_or_default();
            *answers.entry(answered(line, &text(&body))).or_default() += 1;
        }
        assert_eq!(answers.values().sum::<usize>(), times, "{path}: {answers:?} {}", text(&output.stderr));
        Some(answers)
    }

    /// curl's option for `version`.
    fn option(&self, version: Version) -> &'static str {
        match (version, &self.certificate) {
            (Version::Http1, _) => "http1.1",
            (Version::Http2, Some(_)) => "http2",
            (Version::Http2, None) => "http2-prior-knowledge",
        }
    }

    /// Calls WriteAuditLogs with Python's grpcio on one channel. `None` without it; a message says so.
    pub fn grpcio(&self, body: &Body, key: &str, times: usize) -> Option<Answers> {
        let mut command = self.client(&[PYTHON, "python3"], &["-c", "import grpc, google.rpc.status_pb2"])?;
        command.args(["-B", "tests/clients/python/grpc_uploads.py"]);
        let target = self.url.rsplit('/').next().unwrap_or_default();
        command.args([target, key]).arg(body.message()).arg(times.to_string());
        if let Some(certificate) = &self.certificate {
            command.env("GRPC_CERTIFICATE", certificate);
        }
        Some(answers(command))
    }

    /// Uploads with Node.js, whose agent keeps connections open. `None` without it; a message says so.
    pub fn node(&self, upload: Upload<'_>) -> Option<Answers> {
        let mut command = self.client(&["node", "nodejs"], &["-e", "fetch"])?;
        command.arg("tests/clients/node/uploads.mjs");
        Some(self.ran(command, upload))
    }

    /// Uploads with Python's requests in one session. `None` without it; a message says so.
    pub fn requests(&self, upload: Upload<'_>) -> Option<Answers> {
        let mut command = self.client(&["python3", "/usr/bin/python3"], &["-c", "import requests"])?;
        command.args(["-B", "tests/clients/python/uploads.py"]);
        Some(self.ran(command, upload))
    }

    fn ran(&self, mut command: Command, upload: Upload<'_>) -> Answers {
        let Upload { method, path, key, body, times } = upload;
        command.args([&format!("{}{path}", self.url), method, key]).arg(body.file()).arg(times.to_string());
        answers(command)
    }

    /// The output of curl with `arguments` over `version`.
    pub fn fetched(&self, version: Version, path: &str, arguments: &[&str]) -> Option<String> {
        let mut command = self.client(&["curl"], &["--version"])?;
        command.args(["-sS", "--max-time", &ANSWER_TIMEOUT.as_secs().to_string()]).args(arguments);
        command.arg(format!("--{}", self.option(version)));
        if let Some(certificate) = &self.certificate {
            command.arg("--cacert").arg(certificate);
        }
        let output = command.arg(format!("{}{path}", self.url)).output().expect("it runs");
        assert!(output.status.success(), "{path}: {}", text(&output.stderr));
        Some(text(&output.stdout))
    }

    /// Uploads over gRPC on one connection.
    pub async fn write(&self, body: &Body, key: &str, times: usize) -> Answers {
        let mut client = AuditLogServiceClient::new(self.grpc().await);
        let mut counted = Answers::new();
        for _ in 0..times {
            let answer = match client.write_audit_logs(with_key(body.grpc.clone(), key)).await {
                Ok(_) => format!("{:?}", Code::Ok),
                Err(status) => failure(&status),
            };
            *counted.entry(answer).or_default() += 1;
        }
        counted
    }
}

/// The output of `command`: how often each answer came.
fn answers(mut command: Command) -> Answers {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    assert!(status.success(), "{}", text(&stderr));
    serde_json::from_slice(&stdout).expect("JSON")
}

/// The gRPC status and the reason in its details, or its message if it has no details.
pub fn failure(status: &Status) -> String {
    let reason = status.get_details_error_info().map(|info| info.reason);
    format!("{:?} {}", status.code(), reason.unwrap_or_else(|| format!("without details: {}", status.message())))
}

/// The REST status and the code of the error.
fn rest_outcome(status: &str, body: &str) -> String {
    match serde_json::from_str::<Value>(body) {
        Ok(body) if body["error"]["code"].is_string() => {
            format!("{status} {}", body["error"]["code"].as_str().unwrap_or_default())
        }
        Ok(_) => status.to_owned(),
        Err(_) => format!("{status} no JSON: {}", body.chars().take(80).collect::<String>()),
    }
}
