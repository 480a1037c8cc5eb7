//! A reader of a page: runs its blocks in order, as in one shell. What a block exports the next ones see, and all
//! work in one directory.
//!
//! The reader of the README begins with nothing but a trail to import. The reader of another page has what the
//! README leads to: a service with the demo's entries, and the environment to use it.
//!
//! Some of what a page says stands for something else here:
//!
//! | on the page | here |
//! | --- | --- |
//! | `127.0.0.1:8080` and other ports of 80… | where the server of this page listens that was started for that port |
//! | a line `auditlog serve …` or `auditlog gateway …` | runs until the page ends, or until another takes its port |
//! | `al_…` | the last key that was printed |
//! | `postgres://user:password@localhost` | the server of the tests; with SQLite, such a block is left out |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::blocks::{Block, Language, Page};
use super::{exempt, expected, programs, started};
use crate::support::{Backend, Database, Process, as_postgres, database};

/// The longest that a block may take.
const PATIENCE: Duration = Duration::from_secs(60);
const POSTGRES: &str = "postgres://user:password@localhost";
const TRAIL: &str = "assets/demo.ndjson.gz";

struct Reader<'a> {
    page: &'a Page,
    database: &'a Database,
    home: TempDir,
    /// By the port that the page says.
    servers: BTreeMap<u16, Process>,
    key: Option<String>,
}

/// Makes roles, which all databases of a server share: tests/it/roles.rs runs it, on a server of its own.
pub const ROLES: &str = "docs/postgresql-roles.md";
/// Has configurations of proxies, which tests/it/proxies.rs runs.
pub const PROXIES: &str = "docs/proxies.md";

/// Runs all of `page` on `database`.
pub fn read(page: &Page, database: &Database) {
    if page.path == ROLES {
        return;
    }
    let home = tempfile::tempdir_in(database::temporary()).expect("a directory");
    for directory in ["bin", "work"] {
        fs::create_dir(home.path().join(directory)).expect("a directory");
    }
    if !programs::provide(page, &home.path().join("bin")) {
        return;
    }
    let mut reader = Reader { page, database, home, servers: BTreeMap::new(), key: None };
    reader.begin();
    let mut printed = None;
    for block in &page.blocks {
        printed = reader.meet(block, printed);
    }
    for (port, server) in reader.servers {
        assert_eq!(server.terminate(), Some(0), "{}: the server at {port} ends well", page.path);
    }
}

impl Reader<'_> {
    /// What there is before the first block.
    fn begin(&mut self) {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut environment = vec![("PATH", format!("{}:{path}", self.home.path().join("bin").display()))];
        if self.database.backend == Backend::Postgres {
            let url: http::Uri = self.database.url.parse().expect("a URL");
            environment.push(("PGHOST", url.host().expect("a host").to_owned()));
            environment.push(("PGPORT", url.port().expect("a port").to_string()));
            environment.push(("PGUSER", "postgres".to_owned()));
            // The server of the tests runs without fsync, which each command would warn of.
            environment.push(("AUDITLOG_LOG", "error".to_owned()));
            let programs = as_postgres::programs().expect("it runs");
            environment[0].1.push_str(&format!(":{}", programs.display()));
        }
        match self.page.path == "README.md" {
            true => {
                let trail = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(TRAIL);
                fs::copy(trail, self.work().join("trail.ndjson.gz")).expect("a copy");
            }
            false => {
                let (service, key) = started(self.database);
                environment.push(("AUDITLOG_ENDPOINT", service.url("")));
                environment.push(("AUDITLOG_API_KEY", key.clone()));
                environment.push(("AUDITLOG_ORGANIZATION", "org_abc123".to_owned()));
                environment.push(("AUDITLOG_DATABASE_URL", self.database.url.clone()));
                self.servers.insert(8080, service);
                self.key = Some(key);
            }
        }
        let exports = environment.iter().map(|(name, value)| format!("export {name}='{value}'\n"));
        fs::write(self.state(), exports.collect::<String>()).expect("a file");
    }

    fn work(&self) -> PathBuf {
        self.home.path().join("work")
    }

    /// The variables that blocks have exported, as a script.
    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// Does with `block` what is to be done. Takes what the block before printed, and gives what this one does.
    fn meet(&mut self, block: &Block, printed: Option<String>) -> Option<String> {
        let at = format!("{}:{}", self.page.path, block.line);
        let code = self.substituted(&block.code);
        match block.language {
            // Run where PostgreSQL is.
            Language::Shell if block.code.contains(POSTGRES) && self.database.backend == Backend::Sqlite => None,
            Language::Shell => Some(self.shell(block, &at)),
            Language::Python => Some(self.program("python3", "block.py", &code, &at)),
            Language::JavaScript => Some(self.program("node", "block.mjs", &code, &at)),
            Language::Toml => {
                let name = code.lines().next().and_then(|line| line.strip_prefix("# "));
                let name = name.filter(|name| name.ends_with(".toml"));
                let name = name.unwrap_or_else(|| panic!("{at}: its first line is no # NAME.toml"));
                let used = self.page.blocks.iter().any(|other| other.line > block.line && other.code.contains(name));
                assert!(used, "{at}: no block after it uses {name}");
                fs::write(self.work().join(name), &code).expect("a file");
                None
            }
            Language::Sql => panic!("{at}: only {ROLES} has SQL"),
            Language::Nginx | Language::Haproxy | Language::Ini => {
                assert_eq!(self.page.path, PROXIES, "{at}: only {PROXIES} has configurations of proxies");
                None
            }
            Language::Text if exempt::diagram(&self.page.path, block) => None,
            Language::Json | Language::Text => {
                let printed = printed.unwrap_or_else(|| panic!("{at}: no block before it prints this"));
                let compare = if block.language == Language::Json { expected::json } else { expected::text };
                compare(&code, &printed).unwrap_or_else(|why| panic!("{at}: {why}"));
                None
            }
        }
    }

    /// Runs the lines of `block`, with the servers among them in the background, and gives what they print.
    fn shell(&mut self, block: &Block, at: &str) -> String {
        let (mut printed, mut script) = (String::new(), String::new());
        for line in block.code.lines().filter(|line| !exempt::command(&self.page.path, line)) {
            // It would build, or run these very tests.
            assert!(!line.trim_start().starts_with("cargo "), "{at}: {line} is run by no test, and is not exempt");
            if is_server(line) {
                printed += &self.bash(&std::mem::take(&mut script), at);
                self.serve(line);
            } else {
                // As late as can be, for a key or a server of the lines before.
                script.push_str(&self.substituted(line));
                script.push('\n');
            }
        }
        printed += &self.bash(&script, at);
        let mut keys = printed.split_whitespace().filter(|word| word.starts_with("al_") && word.len() == 65);
        self.key = keys.next_back().map(str::to_owned).or(self.key.take());
        printed
    }

    fn program(&self, name: &str, file: &str, code: &str, at: &str) -> String {
        let path = self.home.path().join(file);
        fs::write(&path, code).expect("a file");
        self.bash(&format!("PYTHONIOENCODING=utf-8 {name} '{}'", path.display()), at)
    }

    /// Runs `script` in the reader's shell.
    fn bash(&self, script: &str, at: &str) -> String {
        let [file, out, err] = ["block.sh", "out", "err"].map(|name| self.home.path().join(name));
        let state = self.state();
        let begin = format!("source '{}'\n", state.display());
        fs::write(&file, format!("{begin}{script}\nexport -p >'{}'\n", state.display())).expect("a file");
        // To files, which what goes on in the background does not keep open.
        let opened = |path| Stdio::from(File::create(path).expect("a file"));
        let mut command = self.clean("bash");
        command.args(["-euo", "pipefail"]).arg(&file).stdout(opened(&out)).stderr(opened(&err)).process_group(0);
        let mut child = command.spawn().expect("bash runs");
        let begun = Instant::now();
        let status = loop {
            match child.try_wait().expect("it can be asked") {
                Some(status) => break Some(status),
                None if begun.elapsed() > PATIENCE => break None,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let text = |path| fs::read_to_string(path).expect("UTF-8");
        let (printed, errors) = (text(&out), text(&err));
        let Some(status) = status else {
            // And what it has started.
            let group = format!("kill -KILL -- -{}", child.id());
            let killed = Command::new("bash").args(["-c", &group]).status();
            assert!(killed.is_ok_and(|status| status.success()));
            child.wait().expect("it ends");
            panic!("{at}: it takes longer than {PATIENCE:?}: {script}\n{printed}{errors}");
        };
        assert!(status.success(), "{at}: it ends with {status}: {script}\n{printed}{errors}");
        printed
    }

    /// A command that sees nothing of the test's own configuration, in the reader's directory.
    fn clean(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"AUDITLOG_")) {
            command.env_remove(name);
        }
        command.current_dir(self.work()).stdin(Stdio::null());
        command
    }

    /// Starts the server of `line` at a free port; the one that had its port on the page ends.
    fn serve(&mut self, line: &str) {
        let port = self.port(line);
        if let Some(before) = self.servers.remove(&port) {
            assert_eq!(before.terminate(), Some(0), "{}: the server at {port} ends well", self.page.path);
        }
        let mut words: Vec<_> = line.split_whitespace().map(|word| self.substituted(word)).collect();
        for option in ["--listen", "--metrics-listen"] {
            if let Some(place) = words.iter().position(|word| word == option) {
                words.drain(place..place + 2);
            }
        }
        let script = format!(
            "source '{}'; AUDITLOG_LISTEN=127.0.0.1:0 AUDITLOG_METRICS_LISTEN=127.0.0.1:0 AUDITLOG_DRAIN_DELAY=0s AUDITLOG_LOG=info exec {}",
            self.state().display(),
            words.join(" ")
        );
        let mut command = self.clean("bash");
        command.args(["-euo", "pipefail", "-c", &script]).stdout(Stdio::null());
        self.servers.insert(port, Process::spawn(command));
    }

    /// The port that the page says of the server of `line`: there, in its configuration, or by default.
    fn port(&self, line: &str) -> u16 {
        let option = |name: &str| line.split_whitespace().skip_while(|word| *word != name).nth(1).map(str::to_owned);
        let configured = || {
            let file = fs::read_to_string(self.work().join(option("--config")?)).expect("a block before says it");
            let table: toml::Table = file.parse().expect("TOML");
            table.get("listen").map(|listen| listen.as_str().expect("an address").to_owned())
        };
        let default = if line.starts_with("auditlog gateway") { ":8081" } else { ":8080" };
        let listen = option("--listen").or_else(configured).unwrap_or_else(|| default.to_owned());
        listen.rsplit(':').next().and_then(|port| port.parse().ok()).expect("host:port")
    }

    /// `text` with what it stands for here.
    fn substituted(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (port, server) in &self.servers {
            for host in ["127.0.0.1", "localhost"] {
                text = text.replace(&format!("{host}:{port}"), &server.address);
            }
        }
        if let Some(key) = &self.key {
            text = text.replace("=al_…", &format!("={key}"));
        }
        if let (Backend::Postgres, Some((server, _))) = (self.database.backend, self.database.url.rsplit_once('/')) {
            text = text.replace(POSTGRES, server);
        }
        text
    }
}

/// Whether a line starts a server in the foreground, as in a terminal of its own.
fn is_server(line: &str) -> bool {
    ["auditlog serve", "auditlog gateway"].iter().any(|server| line.starts_with(server))
}
