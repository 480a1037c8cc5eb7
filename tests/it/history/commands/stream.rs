//! `auditlog continuity` with a service that sends what a test gives it: interrupted checks, and broken connections.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use auditlog::grpc::pb;
use auditlog::grpc::pb::history_service_server::{HistoryService, HistoryServiceServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::support::process::{auditlog, text};
use crate::support::run;

type Outcome<T> = Result<Response<T>, Status>;
type Messages = Vec<Result<pb::CheckContinuityResponse, Status>>;

/// Answers the checks, one after the other. A stream stays open after its messages.
#[derive(Clone)]
struct Scripted {
    streams: Arc<Mutex<VecDeque<Messages>>>,
    asked: Arc<Mutex<Vec<pb::CheckContinuityRequest>>>,
}

impl Scripted {
    /// Serves on its own port until the test ends.
    async fn start(streams: impl IntoIterator<Item = Messages>) -> (Self, String) {
        let streams = Arc::new(Mutex::new(streams.into_iter().collect()));
        let scripted = Self { streams, asked: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let service = HistoryServiceServer::new(scripted.clone());
        let serving = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        (scripted, url)
    }

    /// The resume token and the last number of each request.
    fn asked(&self) -> Vec<(String, Option<i64>)> {
        let asked = self.asked.lock().expect("no panic");
        asked.iter().map(|request| (request.resume_token.clone(), request.as_of_sequence)).collect()
    }
}

#[tonic::async_trait]
impl HistoryService for Scripted {
    async fn get_resource_state(
        &self,
        _: Request<pb::GetResourceStateRequest>,
    ) -> Outcome<pb::GetResourceStateResponse> {
        Err(Status::unimplemented("only checks"))
    }

    async fn compare_resource_states(
        &self,
        _: Request<pb::CompareResourceStatesRequest>,
    ) -> Outcome<pb::CompareResourceStatesResponse> {
        Err(Status::unimplemented("only checks"))
    }

    type CheckContinuityStream = Pin<Box<dyn Stream<Item = Result<pb::CheckContinuityResponse, Status>> + Send>>;

    async fn check_continuity(
        &self,
        request: Request<pb::CheckContinuityRequest>,
    ) -> Outcome<Self::CheckContinuityStream> {
        self.asked.lock().expect("no panic").push(request.into_inner());
        let messages = self.streams.lock().expect("no panic").pop_front().unwrap_or_default();
        let stream: Self::CheckContinuityStream = Box::pin(tokio_stream::iter(messages).chain(tokio_stream::pending()));
        Ok(Response::new(stream))
    }

    async fn plan_rollback(&self, _: Request<pb::PlanRollbackRequest>) -> Outcome<pb::PlanRollbackResponse> {
        Err(Status::unimplemented("only checks"))
    }
}

/// A message with a break of each of these rules.
fn message(rules: &[&str], resume_token: &str) -> pb::CheckContinuityResponse {
    let found = |rule: &&str| pb::ContinuityBreak {
        resource_type: "rule".to_owned(),
        resource_id: (*rule).to_owned(),
        class: "order".to_owned(),
        ..Default::default()
    };
    pb::CheckContinuityResponse {
        breaks: rules.iter().map(found).collect(),
        as_of_sequence: 8,
        resume_token: resume_token.to_owned(),
        ..Default::default()
    }
}

/// The last message, of a check with this many breaks and resources that were not checked.
fn last(break_count: i64, unchecked_resources: i64) -> pb::CheckContinuityResponse {
    let summary = "It is checked.".to_owned();
    let order_break_count = 2;
    pb::CheckContinuityResponse {
        complete: true,
        summary,
        break_count,
        order_break_count,
        unchecked_resources,
        ..message(&[], "")
    }
}

fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = auditlog();
    command.args(["continuity", "--endpoint", url, "--organization", "org_a", "--api-key", "al_x"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The lines of `output` that name a rule.
fn rules(output: &str) -> Vec<&str> {
    output.lines().filter_map(|line| line.strip_prefix("rule ")?.split(' ').next()).collect()
}

#[test]
fn a_check_whose_connection_breaks_continues_and_prints_no_break_twice() {
    run(async {
        let broken = || Err(Status::unavailable("a restart"));
        let (scripted, url) = Scripted::start([
            vec![Ok(message(&[], "")), Ok(message(&["rule_1"], "t1")), Ok(message(&["rule_2"], "")), broken()],
            vec![Ok(message(&["rule_2"], "")), Ok(message(&["rule_2"], "")), broken()],
            vec![Ok(message(&["rule_2"], "")), Ok(message(&["rule_3"], "t2")), Ok(last(2, 0))],
        ])
        .await;
        let output = command(&url, &[]).output().expect("it runs");
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
        assert_eq!(rules(&stdout), ["rule_1", "rule_2", "rule_3"], "{stdout}");
        assert!(stdout.ends_with("\nIt is checked.\n"), "{stdout}");
        assert!(stderr.contains("a restart); retrying"), "{stderr}");
        let asked = [(String::new(), None), ("t1".to_owned(), Some(8)), ("t1".to_owned(), Some(8))];
        assert_eq!(scripted.asked(), asked);
    });
}

#[test]
fn a_check_that_is_not_whole_exits_with_1() {
    run(async {
        for (last, expected) in [(last(3, 0), ""), (last(2, 1), "error: some resources were not checked")] {
            let (_, url) = Scripted::start([vec![Ok(last)]]).await;
            let output = command(&url, &[]).output().expect("it runs");
            assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), "It is checked.\n"));
            assert!(text(&output.stderr).starts_with(expected), "{}", text(&output.stderr));
        }
    });
}

#[test]
fn an_interrupted_check_says_how_to_continue() {
    run(async {
        for (token, after, expected) in [
            ("t1", &["--after", "2"][..], "error: interrupted; continue with --resume t1 --after 2\n"),
            ("t1", &[], "error: interrupted; continue with --resume t1\n"),
            ("", &[], "error: interrupted\n"),
        ] {
            let (_, url) = Scripted::start([vec![Ok(message(&[], token)), Ok(message(&["rule_1"], ""))]]).await;
            let mut child = command(&url, &[after, &["--json"]].concat()).spawn().expect("it starts");
            let mut line = String::new();
            let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
            reader.read_line(&mut line).expect("a line");
            assert!(line.starts_with(r#"{"breaks":[],"#), "{line}");
            let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            assert!(interrupted.is_ok_and(|status| status.success()));
            let output = child.wait_with_output().expect("it ends");
            assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(1), expected));
            line.clear();
            reader.read_line(&mut line).expect("the end");
            assert_eq!(line, "", "the break was not printed, because a resumed check reports it");
        }
    });
}
