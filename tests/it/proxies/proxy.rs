//! nginx, HAProxy and nghttpx in front of a service, each with its configuration from docs/proxies.md. Only addresses
//! and paths are replaced.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::Origin;
use crate::documentation::{Language, PROXIES, blocks_of};
use crate::support::process::{program, text};
use crate::support::{Process, database};

/// The time limit until a proxy listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of a proxy's last log lines that a failure shows.
const LOG_LINES: usize = 5;
/// The address and the directory in the documented configurations.
const DOCUMENTED_SERVICE: &str = "127.0.0.1:8080";
const DOCUMENTED_CERTIFICATES: &str = "/etc/ssl/auditlog/";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Haproxy,
    Nghttpx,
}

/// A proxy that listens with TLS on a free port. Dropping it kills the process.
pub struct Proxy {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Kind {
    /// The program; `None` if it is missing, and a message says so.
    fn program(self) -> Option<&'static str> {
        match self {
            Self::Nginx => program(&["nginx", "/usr/sbin/nginx"], &["-v"]),
            Self::Haproxy => program(&["haproxy", "/usr/sbin/haproxy"], &["-v"]),
            Self::Nghttpx => program(&["nghttpx", "/usr/sbin/nghttpx"], &["--version"]),
        }
    }

    /// The configuration of docs/proxies.md, for `service`, `port` and the certificate in `directory`.
    fn configuration(self, service: &Process, port: u16, directory: &Path) -> String {
        let language = match self {
            Self::Nginx => Language::Nginx,
            Self::Haproxy => Language::Haproxy,
            Self::Nghttpx => Language::Ini,
        };
        let [block] = &blocks_of(PROXIES, language)[..] else { panic!("{PROXIES} has one block of {language:?}") };
        let certificates = format!("{}/", directory.display());
        let block = replaced(block, DOCUMENTED_CERTIFICATES, &certificates);
        let listen = format!("127.0.0.1:{port}");
        match self {
            Self::Nginx => {
                let block = replaced(&block, DOCUMENTED_SERVICE, &service.address);
                replaced(&block, "listen 443 ", &format!("listen {listen} "))
            }
            Self::Haproxy => {
                let block = replaced(&block, DOCUMENTED_SERVICE, &service.address);
                replaced(&block, "bind :443 ", &format!("bind {listen} "))
            }
            Self::Nghttpx => {
                let with_comma = |address: &str| format!("={},", address.replace(':', ",")).replace(",,", ",");
                let [documented, here] = [DOCUMENTED_SERVICE, &service.address].map(with_comma);
                let block = replaced(&block, documented.trim_end_matches(','), here.trim_end_matches(','));
                replaced(&block, "frontend=*,443", &format!("frontend=127.0.0.1,{port}"))
            }
        }
    }

    /// The command that runs the proxy as one process in the foreground.
    fn command(self, program: &str, configuration: &str, directory: &Path) -> Command {
        let file = directory.join("configuration");
        fs::write(&file, configuration).expect("a file");
        let mut command = Command::new(program);
        match self {
            Self::Nginx => {
                // The page shows a file for conf.d. With its own paths, nginx runs without privileges.
                let main = directory.join("nginx.conf");
                let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|name| format!("{name}_temp_path {};", directory.join(name).display()))
                    .concat();
                let around = format!(
                    "daemon off;\nmaster_process off;\npid {pid};\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\ninclude {file};\n}}\n",
                    pid = directory.join("pid").display(),
                    file = file.display(),
                );
                fs::write(&main, around).expect("a file");
                command.arg("-e").arg(directory.join("errors")).arg("-p").arg(directory).arg("-c").arg(main);
            }
            Self::Haproxy => {
                command.arg("-db").arg("-f").arg(file);
            }
            Self::Nghttpx => {
                let at = |option: &str, name: &str| format!("--{option}={}", directory.join(name).display());
                command.args(["--single-process", "--no-ocsp", "--conf"]).arg(file);
                command.args([at("errorlog-file", "errors"), at("accesslog-file", "accesses"), at("pid-file", "pid")]);
            }
        }
        command
    }
}

impl Proxy {
    /// Starts a proxy in front of `service`. `None` if a program is missing; a message says so.
    pub fn start(kind: Kind, service: &Process) -> Option<Self> {
        let program = kind.program()?;
        let directory = tempfile::tempdir_in(database::temporary()).expect("a directory");
        certify(directory.path())?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let configuration = kind.configuration(service, port, directory.path());
        let output = |name: &str| Stdio::from(fs::File::create(directory.path().join(name)).expect("a file"));
        let mut command = kind.command(program, &configuration, directory.path());
        let child = command.stdin(Stdio::null()).stdout(output("out")).stderr(output("err")).spawn().expect("it runs");
        let mut proxy = Self { child, directory, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = proxy.child.try_wait().expect("it can be asked");
            assert!(ended.is_none() && begun.elapsed() < START_TIMEOUT, "{kind:?} does not listen: {}", proxy.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(proxy)
    }

    /// The address for clients.
    pub fn origin(&self) -> Origin {
        Origin {
            url: format!("https://127.0.0.1:{}", self.port),
            certificate: Some(self.directory.path().join("cert.pem")),
        }
    }

    /// The last lines of its output and error log.
    pub fn log(&self) -> String {
        let files = ["errors", "out", "err"].map(|name| self.directory.path().join(name));
        let said: String = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
        let lines: Vec<_> = said.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Replaces `from`, which must occur, with `to`.
fn replaced(block: &str, from: &str, to: &str) -> String {
    assert!(block.contains(from), "{PROXIES} has {from} in\n{block}");
    block.replace(from, to)
}

/// Writes a self-signed certificate for 127.0.0.1 into `directory`. `None` without openssl; a message says so.
fn certify(directory: &Path) -> Option<()> {
    let openssl = program(&["openssl"], &["version"])?;
    let file = |name: &str| directory.join(name);
    let request = "[req]\ndistinguished_name = name\nx509_extensions = extensions\nprompt = no\n[name]\nCN = localhost\n\
                   [extensions]\nsubjectAltName = DNS:localhost, IP:127.0.0.1\nbasicConstraints = critical, CA:false\n";
    let paths: [PathBuf; 3] = ["request", "key.pem", "cert.pem"].map(file);
    fs::write(&paths[0], request).expect("a file");
    let mut command = Command::new(openssl);
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    command.arg("-config").arg(&paths[0]).arg("-keyout").arg(&paths[1]).arg("-out").arg(&paths[2]);
    let made = command.output().expect("it runs");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let [key, certificate] = [&paths[1], &paths[2]].map(|path| fs::read_to_string(path).expect("PEM"));
    fs::write(file("both.pem"), certificate + &key).expect("a file");
    Some(())
}
