//! Third-party clients against a real process: Python's grpcio with reflection, health checks and its own stubs, and
//! gRPC-Web of a browser with connect-web. `.ci/install` installs them.

use std::process::Command;

use crate::support::process::PYTHON;
use crate::support::process::{create_key, output, program, text};
use crate::support::{Backend, Database, Process, on_every_database};

const ORGANIZATION: &str = "org_abc123";

/// Runs a client against a service with the demo's entries. Returns its output.
fn run(database: &Database, mut client: Command) -> String {
    let key = create_key(&database.url, &["--organization", ORGANIZATION, "--scope", "read", "--scope", "write"]);
    let service = Process::serve(&database.url);
    let arguments = ["import", "--strict", "--endpoint", &service.url(""), "assets/demo.ndjson.gz"];
    let imported = output(arguments, &[("AUDITLOG_API_KEY", &key)]);
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    let client = client
        .env("AUDITLOG_ENDPOINT", service.url(""))
        .env("AUDITLOG_API_KEY", key)
        .env("AUDITLOG_ORGANIZATION", ORGANIZATION)
        .output()
        .expect("it runs");
    let printed = text(&client.stdout);
    assert!(client.status.success(), "{printed}{}", text(&client.stderr));
    printed
}

on_every_database! {
    async fn pythons_grpc_reads_and_writes(database: &Database) {
        let imports = "import grpc, grpc_tools, grpc_reflection, grpc_health, grpc_status";
        let Some(python) = program(&[PYTHON, "python3"], &["-c", imports]) else { return };
        let mut client = Command::new(python);
        client.args(["-B", "tests/clients/python/client.py", "proto"]);
        let printed = run(database, client);
        for check in ["health", "reflection v1", "reflection v1alpha", "export", "a deadline"] {
            assert!(printed.contains(&format!("ok {check}")), "{check} is checked: {printed}");
        }
    }

    async fn a_browsers_grpc_web_reads_and_writes(database: &Database) {
        let installed = "require.resolve('@connectrpc/connect-web', {paths: ['tests/clients/node']})";
        let Some(node) = program(&["node", "nodejs"], &["-e", installed]) else { return };
        let mut client = Command::new(node);
        client.args(["tests/clients/node/client.mjs", "proto/auditlog.v1.binpb"]);
        let printed = run(database, client);
        for check in ["list", "export", "limit 0", "all of it was binary gRPC-Web"] {
            assert!(printed.contains(&format!("ok {check}")), "{check} is checked: {printed}");
        }
    }
}
