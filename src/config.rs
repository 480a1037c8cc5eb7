//! Options come from, in order of precedence: flag, environment variable, TOML file, default. The values of the TOML
//! file, and of a file named by `AUDITLOG_…_FILE`, become the defaults of the options, so clap keeps the order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, anyhow, bail};
use clap::{Arg, Command};
use toml::Value;

use crate::domain::did_you_mean;

/// Options whose value may come from a file of its own, named by `AUDITLOG_API_KEY_FILE` and the like, or by
/// `api_key_file` and the like in the TOML file.
const SECRETS: [&str; 3] = ["api_key", "database_url", "erase_database_url"];

/// Returns `command` with defaults from the file that `--config` or `AUDITLOG_CONFIG` names.
pub fn with_file(command: Command, arguments: &[OsString]) -> anyhow::Result<Command> {
    // Help must work even when the file is broken.
    let is_help = |argument: &OsString| ["--help", "-h", "--version", "-V"].iter().any(|help| argument == help);
    if arguments.iter().any(is_help) || arguments.get(1).is_some_and(|argument| argument == "help") {
        return Ok(command);
    }
    let invoked = arguments.iter().find_map(|argument| command.find_subcommand(argument));
    let needed: Vec<_> = invoked.map(options).into_iter().flatten().collect();
    let mut values = match file_named(arguments) {
        Some(path) => read(&path, &command)?,
        None => BTreeMap::new(),
    };
    for secret in SECRETS.into_iter().filter(|secret| needed.iter().any(|option| option == secret)) {
        let variable = format!("AUDITLOG_{}", secret.to_uppercase());
        let Some(path) = env::var_os(format!("{variable}_FILE")) else {
            continue;
        };
        if env::var_os(&variable).is_some() {
            bail!("{variable} and {variable}_FILE are both set; keep one");
        }
        values.insert(secret.to_owned(), vec![first_line(Path::new(&path))?]);
    }
    Ok(apply(command, &values))
}

fn file_named(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = argument.to_str().and_then(|text| text.strip_prefix("--config=")) {
            return Some(PathBuf::from(path));
        }
    }
    env::var_os("AUDITLOG_CONFIG").map(PathBuf::from)
}

fn read(path: &Path, command: &Command) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let table: toml::Table = text.parse().map_err(|error| not_toml(path, &text, &error))?;
    let mut known: Vec<_> = options(command).collect();
    known.sort_unstable();
    known.dedup();
    let mut values = BTreeMap::new();
    for (key, value) in table {
        let at = || format!("{}: {key}", path.display());
        if let Some(secret) = key.strip_suffix("_file").filter(|secret| SECRETS.contains(secret)) {
            let file = value.as_str().with_context(|| format!("{} must be a path", at()))?;
            values.insert(secret.to_owned(), vec![first_line(Path::new(file))?]);
        } else if known.contains(&key) {
            values.insert(key.clone(), texts(value).with_context(at)?);
        } else {
            let hint = did_you_mean(&key, known.iter().map(String::as_str));
            bail!("{} is not an option; allowed: {}{hint}", at(), known.join(", "));
        }
    }
    Ok(values)
}

/// Says where `text` is not TOML, and why. The library's own message quotes the line, which may hold a secret.
fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    anyhow!("{} is not TOML: line {line}, column {column}: {}", path.display(), error.message())
}

/// The options of `command` and of all its subcommands.
fn options(command: &Command) -> Box<dyn Iterator<Item = String> + '_> {
    let own = command
        .get_arguments()
        .filter(|arg| arg.get_env().is_some() && arg.get_id() != "config")
        .map(|arg| arg.get_id().to_string());
    Box::new(own.chain(command.get_subcommands().flat_map(options)))
}

fn texts(value: Value) -> anyhow::Result<Vec<String>> {
    Ok(match value {
        Value::String(text) => vec![text],
        Value::Integer(number) => vec![number.to_string()],
        Value::Boolean(flag) => vec![flag.to_string()],
        Value::Array(values) => values.into_iter().map(texts).collect::<anyhow::Result<Vec<_>>>()?.concat(),
        other => bail!("must be a string, a number, true, false, or a list of them, got a {}", other.type_str()),
    })
}

fn first_line(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn apply(command: Command, values: &BTreeMap<String, Vec<String>>) -> Command {
    // An argument without an environment variable may share its name with an option of another command.
    let default = |arg: Arg| match values.get(arg.get_id().as_str()).filter(|_| arg.get_env().is_some()) {
        Some(values) => arg.required(false).default_values(values.clone()),
        None => arg,
    };
    command.mut_args(default).mut_subcommands(|subcommand| apply(subcommand, values))
}
