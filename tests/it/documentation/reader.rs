//! Runs the blocks of a page in order, as in one shell. All blocks run in one directory, and exported variables pass to
//! later blocks.
//!
//! The README starts from nothing but a trail to import. Other pages start where the README ends: with a service that
//! contains the demo's entries, and the environment variables to use it.
//!
//! The test replaces some text of the page:
//!
//! | on the page | here |
//! | --- | --- |
//! | `127.0.0.1:8080` and other ports 80… | the address of the server that this page started for the port |
//! | a line `auditlog serve …` or `auditlog gateway …` | runs until the page ends or another server takes its port |
//! | `al_…` | the last key that was printed |
//! | `postgres://user:password@localhost` | the PostgreSQL server of the tests; such a block is skipped on SQLite |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::blocks::{Block, Language, Page};
use super::{exempt, expected, programs, started};
use crate::support::{Backend, Database, Process, as_postgres, database};

/// The time limit of a block.
const TIMEOUT: Duration = Duration::from_secs(60);
const POSTGRES: &str = "postgres://user:password@localhost";
const TRAIL: &str = "assets/demo.ndjson.gz";

struct Reader<'a> {
    page: &'a Page,
    database: &'a Database,
    home: TempDir,
    /// The servers, by the port on the page.
    servers: BTreeMap<u16, Process>,
    key: Option<String>,
}

/// Skipped here: it creates roles, which all databases of a server share. tests/it/roles.rs runs it on a separate
/// server.
pub const ROLES: &str = "docs/postgresql-roles.md";
/// Contains proxy configurations, which tests/it/proxies.rs runs.
pub const PROXIES: &str = "docs/proxies.md";

/// Runs all blocks of `page` on `database`.
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
    // Pages run the examples in contrib/ as from the root of the repository.
    let contrib = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("contrib");
    symlink(contrib, home.path().join("work/contrib")).expect("a link");
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
    /// Sets up the state before the first block.
    fn begin(&mut self) {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut environment = vec![("PATH", format!("{}:{path}", self.home.path().join("bin").display()))];
        if self.database.backend == Backend::Postgres {
            let url: http::Uri = self.database.url.parse().expect("a URL");
            environment.push(("PGHOST", url.host().expect("a host").to_owned()));
            environment.push(("PGPORT", url.port().expect("a port").to_string()));
            environment.push(("PGUSER", "postgres".to_owned()));
            // The server of the tests runs without fsync, and each command would warn about that.
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

    /// The script that restores the exported variables.
    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// Runs or checks `block`. `printed` is the output of the previous block. Returns the output of this one.
    fn meet(&mut self, block: &Block, printed: Option<String>) -> Option<String> {
        let at = format!("{}:{}", self.page.path, block.line);
        let code = self.substituted(&block.code);
        match block.language {
            // Needs PostgreSQL.
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

    /// Runs the lines of `block` and returns their output. Servers among them run in the background.
    fn shell(&mut self, block: &Block, at: &str) -> String {
        let (mut printed, mut script) = (String::new(), String::new());
        for line in block.code.lines().filter(|line| !exempt::command(&self.page.path, line)) {
            // It would build the project, or run these tests.
            assert!(!line.trim_start().starts_with("cargo "), "{at}: {line} is run by no test, and is not exempt");
            if is_server(line) {
                printed += &self.bash(&std::mem::take(&mut script), at);
                self.serve(line);
            } else {
                // Replace as late as possible: earlier lines may create the key or the server.
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

    /// Runs `script` with the exported variables of earlier blocks.
    fn bash(&self, script: &str, at: &str) -> String {
        let [file, out, err] = ["block.sh", "out", "err"].map(|name| self.home.path().join(name));
        let state = self.state();
        let begin = format!("source '{}'\n", state.display());
        fs::write(&file, format!("{begin}{script}\nexport -p >'{}'\n", state.display())).expect("a file");
        // Output goes to files, because background processes would keep pipes open.
        let opened = |path| Stdio::from(File::create(path).expect("a file"));
        let mut command = self.clean("bash");
        command.args(["-euo", "pipefail"]).arg(&file).stdout(opened(&out)).stderr(opened(&err)).process_group(0);
        let mut child = command.spawn().expect("bash runs");
        let begun = Instant::now();
        let status = loop {
            match child.try_wait().expect("it can be asked") {
                Some(status) => break Some(status),
                None if begun.elapsed() > TIMEOUT => break None,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let text = |path| fs::read_to_string(path).expect("UTF-8");
        let (printed, errors) = (text(&out), text(&err));
        let Some(status) = status else {
            // Kills the processes that the script has started, too.
            let group = format!("kill -KILL -- -{}", child.id());
            let killed = Command::new("bash").args(["-c", &group]).status();
            assert!(killed.is_ok_and(|status| status.success()));
            child.wait().expect("it ends");
            panic!("{at}: it takes longer than {TIMEOUT:?}: {script}\n{printed}{errors}");
        };
        assert!(status.success(), "{at}: it ends with {status}: {script}\n{printed}{errors}");
        printed
    }

    /// A command in the page's directory, without the test's own `AUDITLOG_*` variables.
    fn clean(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"AUDITLOG_")) {
            command.env_remove(name);
        }
        command.current_dir(self.work()).stdin(Stdio::null());
        command
    }

    /// Starts the server of `line` on a free port. Stops the server that used the same port on the page.
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

    /// The port of the server in `line`: from its options, its configuration file, or the default.
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

    /// Replaces documented values in `text` with those of this run.
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

/// Whether `line` starts a server in the foreground.
fn is_server(line: &str) -> bool {
    ["auditlog serve", "auditlog gateway"].iter().any(|server| line.starts_with(server))
}
