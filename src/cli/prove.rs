//! `auditlog prove` and `auditlog verify-proof`: a proof of one entry for anyone who has the log's public key.

use std::fs::File;
use std::io::{ErrorKind, Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};

use super::client::ClientArgs;
use super::table::visible;
use super::verify::{Source, TrustedKeyArgs, checkpoint_backoff, claimed_size, disclosed_entry, hashes};
use super::{NotVerified, Unchecked};
use crate::domain::{Group, Invalid};
use crate::error::Error;
use crate::files;
use auditlog_verify::log::{Proof, Proved, Trust};

/// The maximum number of bytes of a proof that are read. An entry has at most 256 KiB.
const MAX_PROOF: u64 = 4 * 1024 * 1024;

#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog prove log_abc123 --organization org_abc123 \\
    --output log_abc123.tlog-proof
  auditlog prove log_abc123 --organization org_abc123 --redact actor,content")]
pub struct ProveArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Organization id.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG", required = true)]
    organization: String,
    #[command(flatten)]
    keys: TrustedKeyArgs,
    /// Entry id.
    #[arg(value_name = "ID")]
    id: String,
    /// Groups whose values the proof leaves out, separated by commas: facts, actor, content. Default: none.
    #[arg(long, value_name = "GROUPS", value_delimiter = ',', value_parser = Group::parse)]
    redact: Vec<Group>,
    /// Output file. It must not exist yet. Default, or -: standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "\
Exit codes: 0 the proof is valid, 1 it is not valid, 2 wrong usage, 3 it could not be read.

Examples:
  auditlog verify-proof log_abc123.tlog-proof \\
    --public-key audit.example.com/0123…+1a2b3c4d+AQ…
  auditlog prove log_abc123 --organization org_abc123 | \\
    auditlog verify-proof - --json")]
pub struct VerifyProofArgs {
    /// Proof file; - for standard input.
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    #[command(flatten)]
    keys: TrustedKeyArgs,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl ProveArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { client, organization, keys, id, redact, output } = self;
        let source = Source::new(&client, organization, ProgressBar::hidden())?;
        let (note, proof) = included(&source, &id).await?;
        let entry = source.entry(proof.sequence).await?;
        let entry = disclosed_entry(entry.ok_or_else(|| anyhow!("the service has no entry {}", proof.sequence))?)?;
        ensure!(entry.id == id, "entry {} is {}, not {id}", entry.seq, visible(&entry.id));
        let hashes = hashes(&proof.hashes).ok_or_else(|| anyhow!("the service returned a malformed proof"))?;
        let keys = match keys.public_key.is_empty() {
            true => source.keys().await?,
            false => keys.public_key,
        };
        ensure!(!keys.is_empty(), "the service reports no key of the log; give --public-key");
        let trust = Trust::new(keys)?;
        let proof = Proof::new(&entry, trust.log_id(), &redact, hashes, note)?;
        // A proof that fails here would fail everywhere.
        proof.verify(&trust).context("the response does not prove the entry; auditlog verify tells more")?;
        write(&proof.text(), output.as_deref().filter(|path| path.as_os_str() != "-"))
    }
}

/// Waits for a checkpoint that includes the entry `id`, and returns it with the inclusion proof. Errors: there is none
/// within 10 seconds.
async fn included(source: &Source, id: &str) -> anyhow::Result<(String, crate::grpc::pb::GetInclusionProofResponse)> {
    let mut polls = checkpoint_backoff();
    loop {
        // One more try follows the last pause, because the service may have been unavailable until then.
        let pause = polls.next();
        let note = source.checkpoint().await?;
        if let Some(note) = &note
            && let Some(proof) = source.inclusion(id, claimed_size(note)?).await?
        {
            return Ok((note.clone(), proof));
        }
        let Some(pause) = pause else {
            note.ok_or(Error::CheckpointNotFound)?;
            bail!("no checkpoint includes the entry yet; a service that can sign does so within seconds of a write");
        };
        tokio::time::sleep(pause).await;
    }
}

fn write(text: &str, path: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(stdout().write_all(text.as_bytes())?) };
    let name = path.display();
    files::create(path, text.as_bytes()).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow!("{name} already exists; choose another --output"),
        _ => anyhow!(error).context(format!("cannot create {name}")),
    })
}

impl VerifyProofArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { file, keys, json } = self;
        if keys.public_key.is_empty() {
            return Err(super::usage("--public-key is required: a verifier key of the log that you trust"));
        }
        let trust = Trust::new(keys.public_key).map_err(|error| super::usage(&error.to_string()))?;
        let bytes = read(&file).map_err(Unchecked::of)?;
        let text = String::from_utf8(bytes).map_err(|error| Invalid(format!("it is not UTF-8: {error}")));
        let proved = text.and_then(|text| Proof::parse(&text)?.verify(&trust));
        let line = match &proved {
            Ok(proved) if json => proved_as_json(proved),
            Ok(proved) => proved_as_text(proved),
            Err(Invalid(why)) if json => json!({ "verified": false, "message": why }).to_string(),
            Err(Invalid(why)) => format!("NOT VERIFIED: {}", visible(why)),
        };
        writeln!(stdout(), "{line}")?;
        if proved.is_err() { Err(NotVerified.into()) } else { Ok(()) }
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let cannot = || format!("cannot read {}", file.display());
    // One byte more than allowed shows that the file is too long.
    let source: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(stdin()),
        false => Box::new(File::open(file).with_context(cannot)?),
    };
    // As text: a broken pipe of the input must not look like one of the output.
    source.take(MAX_PROOF + 1).read_to_end(&mut bytes).map_err(|error| anyhow!("{}: {error}", cannot()))?;
    ensure!(bytes.len() as u64 <= MAX_PROOF, "a proof must have at most {MAX_PROOF} bytes");
    Ok(bytes)
}

fn proved_as_json(proved: &Proved) -> String {
    let Proved { checkpoint, seq, id, recorded_at, writer, groups } = proved;
    let fields = |fields: &[(String, String)]| {
        fields.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect::<Map<_, _>>()
    };
    let groups: Map<_, _> = groups
        .iter()
        .map(|(group, list)| (group.name().to_owned(), list.as_deref().map_or(Value::Null, |list| fields(list).into())))
        .collect();
    json!({
        "verified": true, "origin": checkpoint.origin.as_str(), "size": checkpoint.size, "sequence": seq, "id": id,
        "recordedAt": recorded_at, "writer": writer, "groups": groups,
    })
    .to_string()
}

fn proved_as_text(proved: &Proved) -> String {
    let Proved { checkpoint, seq, id, recorded_at, writer, groups } = proved;
    let mut text = format!(
        "verified: entry {seq} of {}, whose signed checkpoint has {} entries\nid = {id}\nrecorded = {recorded_at}\n\
         writer = {writer}",
        checkpoint.origin, checkpoint.size
    );
    for (group, fields) in groups {
        match fields {
            None => text.push_str(&format!("\n{}: not in the proof (redacted or erased)", group.name())),
            Some(fields) if fields.is_empty() => text.push_str(&format!("\n{}: empty", group.name())),
            Some(fields) => {
                text.push_str(&format!("\n{}:", group.name()));
                for (name, value) in fields {
                    text.push_str(&format!("\n  {} = {}", visible(name), visible(value)));
                }
            }
        }
    }
    text
}
