//! Provides the programs that pages name, in a directory for the PATH.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::blocks::{Language, Page};
use crate::support::process::{program, text};

/// Replaces grpcurl, which is in none of CI's package registries. It accepts grpcurl's flags, makes the same call with
/// buf through reflection, and exits like grpcurl.
const STAND_IN: &str = r#"#!/usr/bin/env bash
set -euo pipefail
options=(--http2-prior-knowledge --protocol grpc)
while [[ $# -gt 0 ]]; do
    case $1 in
        -plaintext) shift ;;
        -max-msg-sz) shift 2 ;; # buf receives any size
        -H | -d) options+=("$1" "$2"); shift 2 ;;
        -*) echo "the stand-in for grpcurl does not know $1" >&2; exit 2 ;;
        *) break ;;
    esac
done
if [[ $2 == list ]]; then exec "$BUF" curl "${options[@]}" --list-services "http://$1"; fi
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
code=0
"$BUF" curl "${options[@]}" "http://$1/$2" 2>"$errors" || code=$?
if [[ $code -ne 0 ]]; then
    node -e '
        const text = require("fs").readFileSync(0, "utf8");
        // buf shows details as their bytes.
        const FIELDS = {
            "google.rpc.ErrorInfo": { 1: "reason", 2: "domain" },
            "google.rpc.BadRequest": { 1: ["fieldViolations", { 1: "field", 2: "description" }] },
        };
        const read = (bytes, names) => {
            const fields = {};
            for (let at = 0; at < bytes.length; ) {
                const name = names[bytes[at++] >> 3];
                let length = 0, shift = 0, byte;
                do { byte = bytes[at++]; length |= (byte & 127) << shift; shift += 7; } while (byte & 128);
                const part = bytes.subarray(at, (at += length));
                if (Array.isArray(name)) (fields[name[0]] ??= []).push(read(part, name[1]));
                else fields[name] = part.toString();
            }
            return fields;
        };
        try {
            const { code, message, details = [] } = JSON.parse(text);
            const name = code.replace(/(^|_)(.)/g, (_, __, letter) => letter.toUpperCase());
            console.error(`ERROR:\n  Code: ${name}\n  Message: ${message}`);
            if (details.length) console.error("  Details:");
            details.forEach(({ type, value }, place) => {
                const begin = `  ${place + 1})`;
                const fields = read(Buffer.from(value, "base64"), FIELDS[type]);
                const shown = JSON.stringify({ "@type": `type.googleapis.com/${type}`, ...fields }, null, 2);
                console.error(begin + "\t" + shown.replaceAll("\n", "\n" + " ".repeat(begin.length) + "\t"));
            });
        } catch { console.error(text); }' <"$errors"
    exit $((64 + code / 8)) # buf ends with eight times the code
fi
"#;

type Words = &'static [&'static str];

/// The programs that shell blocks may name: name, candidates, and arguments that check whether one works.
const CLIENTS: [(&str, Words, Words); 5] = [
    ("curl", &["curl"], &["--version"]),
    ("python3", &["python3", "/usr/bin/python3"], &["-c", "import requests"]),
    ("node", &["node", "nodejs"], &["-e", "fetch"]),
    ("jq", &["jq"], &["--version"]),
    ("sqlite3", &["sqlite3"], &["--version"]),
];

/// Links the programs that `page` needs into `directory`. `false` if one is missing; a message says so.
pub fn provide(page: &Page, directory: &Path) -> bool {
    symlink(env!("CARGO_BIN_EXE_auditlog"), directory.join("auditlog")).expect("a link");
    let names = |name: &str| {
        page.blocks.iter().any(|block| match block.language {
            Language::Shell => block.code.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == name),
            Language::Python => name == "python3",
            Language::JavaScript => name == "node",
            Language::Sql | Language::Toml | Language::Json | Language::Text => false,
            Language::Nginx | Language::Haproxy | Language::Ini => false,
        })
    };
    let mut is_whole = true;
    for (name, programs, check) in CLIENTS.into_iter().filter(|(name, ..)| names(name)) {
        match program(programs, check) {
            Some(found) if found == name => {}
            Some(found) => put(directory, name, &format!("#!/usr/bin/env bash\nexec {found} \"$@\"\n")),
            None => is_whole = false,
        }
    }
    if names("grpcurl") && Command::new("grpcurl").arg("--version").output().is_err() {
        match buf() {
            Some(buf) => put(directory, "grpcurl", &STAND_IN.replace("$BUF", buf)),
            None => is_whole = false,
        }
    }
    is_whole
}

fn put(directory: &Path, name: &str, script: &str) {
    let path = directory.join(name);
    fs::write(&path, script).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// The path of buf as installed by npx, in the version that `.ci/run` uses.
fn buf() -> Option<&'static str> {
    static BUF: OnceLock<Option<String>> = OnceLock::new();
    const FIND: [&str; 6] = ["--yes", "--package=@bufbuild/buf@1.75.0", "--", "sh", "-c", "command -v buf"];
    let find = || {
        let npx = program(&["npx"], &FIND)?;
        let found = Command::new(npx).args(FIND).output().expect("it ran a moment ago");
        Some(text(&found.stdout).trim().to_owned())
    };
    BUF.get_or_init(find).as_deref()
}
