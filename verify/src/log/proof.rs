//! A proof of one entry as a file (C2SP tlog-proof). Its extra line has the leaf, and the disclosed groups with their
//! values and salts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::disclosed::DisclosedEntry;
use super::trust::{Trust, log_id};
use crate::merkle::{Checkpoint, Fields, Hash, Leaf, SERVICE, Salt, SaltedFields, check_fields, verify_inclusion};
use crate::types::{Group, Invalid, quoted};

const VERSION: &str = "c2sp.org/tlog-proof@v1";

/// The content of a proof file.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof {
    /// The data of the leaf.
    pub leaf: Vec<u8>,
    /// In leaf order; `None` for a group that is not disclosed.
    pub groups: [Option<SaltedFields>; 3],
    /// The index of the leaf, from 0.
    pub index: u64,
    /// The proof, from the leaf's sibling to the root's child.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint.
    pub note: String,
}

/// The result of a valid proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// The checkpoint of the tree that has the leaf.
    pub checkpoint: Checkpoint,
    /// The entry's number.
    pub seq: i64,
    /// The entry's id.
    pub id: String,
    /// When it was recorded, in the hashed form.
    pub recorded_at: String,
    /// The id of the API key that wrote it.
    pub writer: String,
    /// The values of each group; `None` for a group that is not disclosed.
    pub groups: [(Group, Option<Fields>); 3],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extra {
    leaf: String,
    groups: Groups,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Groups {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    facts: Option<GroupText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor: Option<GroupText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<GroupText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupText {
    salt: String,
    fields: Vec<(String, String)>,
}

impl Proof {
    /// A proof of `entry` in the log `log_id`, without the values of the `redacted` groups. Errors: `entry` makes no
    /// leaf.
    pub fn new(
        entry: &DisclosedEntry,
        log_id: &str,
        redacted: &[Group],
        hashes: Vec<Hash>,
        note: String,
    ) -> Result<Self, Invalid> {
        let leaf = entry.leaf_data(log_id).ok_or_else(|| Invalid(format!("entry {} makes no leaf", entry.seq)))?;
        let groups = Group::ALL.map(|group| entry.fields(group).filter(|_| !redacted.contains(&group)).cloned());
        Ok(Self { leaf, groups, index: entry.seq.unsigned_abs() - 1, hashes, note })
    }

    /// The text of the proof file.
    pub fn text(&self) -> String {
        let Self { leaf, groups, index, hashes, note } = self;
        let [facts, actor, content] = groups.each_ref().map(|group| {
            let SaltedFields { salt, fields } = group.as_ref()?;
            Some(GroupText { salt: STANDARD.encode(salt), fields: fields.clone() })
        });
        let extra = Extra { leaf: STANDARD.encode(leaf), groups: Groups { facts, actor, content } };
        // Cannot fail: strings always serialize.
        let extra = serde_json::to_vec(&extra).unwrap_or_default();
        let hashes: String = hashes.iter().map(|hash| format!("{hash}\n")).collect();
        format!("{VERSION}\nextra {}\nindex {index}\n{hashes}\n{note}", STANDARD.encode(extra))
    }

    /// Reads a proof file. Errors name the line.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let mut lines = Lines { rest: text, number: 0 };
        if lines.next()? != VERSION {
            return Err(lines.wrong(format_args!("must be {VERSION}")));
        }
        let extra = lines.next()?.strip_prefix("extra ").and_then(|extra| STANDARD.decode(extra).ok());
        let extra = extra.ok_or_else(|| lines.wrong("must be extra and base64, with the entry"))?;
        let Extra { leaf, groups: Groups { facts, actor, content } } =
            serde_json::from_slice(&extra).map_err(|error| lines.wrong(format_args!("holds no entry: {error}")))?;
        let leaf = STANDARD.decode(&leaf).map_err(|_| lines.wrong("leaf must be base64"))?;
        let disclosed = |group: Option<GroupText>| {
            let Some(GroupText { salt, fields }) = group else { return Ok(None) };
            let salt = STANDARD.decode(&salt).ok().and_then(|salt| Salt::try_from(salt).ok());
            let salt = salt.ok_or_else(|| lines.wrong("a salt must be 16 bytes in base64"))?;
            Ok(Some(SaltedFields { salt, fields }))
        };
        let groups = [disclosed(facts)?, disclosed(actor)?, disclosed(content)?];
        let number = lines.next()?.strip_prefix("index ").unwrap_or_default();
        let index: Option<u64> = number.parse().ok().filter(|index: &u64| index.to_string() == number);
        let index = index.ok_or_else(|| lines.wrong("must be index and a number"))?;
        let mut hashes = Vec::new();
        loop {
            match lines.next()? {
                "" => break,
                hash => hashes.push(Hash::parse(hash).map_err(|Invalid(why)| lines.wrong(why))?),
            }
        }
        Ok(Self { leaf, groups, index, hashes, note: lines.rest.to_owned() })
    }

    /// Verifies the proof with the keys of `trust`. Errors say which check failed.
    pub fn verify(&self, trust: &Trust) -> Result<Proved, Invalid> {
        let Self { leaf: data, groups, index, hashes, note } = self;
        let checkpoint =
            trust.open(note).map_err(|why| Invalid(format!("the checkpoint is not to be trusted: {why}")))?;
        let leaf = Leaf::parse(data)?;
        if leaf.log_id != log_id(&checkpoint.origin)? {
            return Err(Invalid::new(
                format_args!("the leaf must be of the log of {}", checkpoint.origin),
                leaf.log_id,
            ));
        }
        if leaf.seq.unsigned_abs() - 1 != *index {
            return Err(Invalid::new(
                format_args!("index {index} is that of entry {}", index + 1),
                format_args!("the leaf of entry {}", leaf.seq),
            ));
        }
        if leaf.id.starts_with("auditlog:") != (leaf.writer == SERVICE) {
            return Err(Invalid::new("an entry of the service must have its id and its writer", quoted(leaf.id)));
        }
        verify_inclusion(data, *index, hashes, checkpoint.size, checkpoint.root).map_err(|_| {
            Invalid(format!("the hashes do not lead from the leaf to the root of {} entries", checkpoint.size))
        })?;
        for ((group, disclosed), hash) in Group::ALL.into_iter().zip(groups).zip(leaf.groups) {
            let Some(fields) = disclosed else { continue };
            check_fields(group, &fields.fields)?;
            if fields.hash(group) != hash {
                return Err(Invalid(format!("the values of {} are not those of the leaf", group.name())));
            }
        }
        let fields = |place: usize| groups[place].as_ref().map(|disclosed| disclosed.fields.clone());
        let [facts, actor, content] = [0, 1, 2].map(fields);
        Ok(Proved {
            seq: leaf.seq,
            id: leaf.id.to_owned(),
            recorded_at: leaf.recorded_at.exact(),
            writer: leaf.writer.to_owned(),
            groups: [(Group::Facts, facts), (Group::Actor, actor), (Group::Content, content)],
            checkpoint,
        })
    }
}

/// Reads the lines of a file. Each must end with a line break.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, Invalid> {
        self.number += 1;
        let (line, rest) = self.rest.split_once('\n').ok_or_else(|| self.wrong("is not there, or has no end"))?;
        self.rest = rest;
        Ok(line)
    }

    fn wrong(&self, why: impl std::fmt::Display) -> Invalid {
        Invalid(format!("line {}: {why}", self.number))
    }
}
