//! Valid and forged checkpoints and proofs, verified by this project and by Go's golang.org/x/mod. `.ci/run` says how
//! to install it.

use std::fs::{self, File};

use auditlog::domain::{Random, Timestamp};
use auditlog_verify::merkle::{
    Checkpoint, CompactRange, GroupHash, Hash, KeyName, Leaf, ProofRequest, SigningKey, TileId, Tiles, VerifierKey,
    open, sign, verify_consistency, verify_inclusion,
};
use serde::Serialize;

use crate::support::go::go;
use crate::support::process::text;

/// The input of a verifier.
#[derive(Debug, Clone, Serialize)]
struct Case {
    key: String,
    note: String,
    /// An earlier checkpoint, for a consistency proof. Empty for an inclusion proof.
    old: String,
    index: u64,
    /// The leaf data, in base64.
    leaf: String,
    proof: Vec<String>,
    #[serde(skip)]
    is_true: bool,
}

/// A log with all data that its service has.
struct Log {
    origin: KeyName,
    key: SigningKey,
    leaves: Vec<Vec<u8>>,
    tiles: Tiles,
}

impl Log {
    fn new(log_id: &str, entries: i64) -> Self {
        let leaf = |seq: i64| {
            let id = format!("log_{seq}");
            let groups = [1, 2, 3].map(|group| GroupHash(Hash::of_leaf(format!("{seq} {group}").as_bytes())));
            Leaf { log_id, seq, id: &id, recorded_at: Timestamp::saturating(seq), writer: "-", groups }.data()
        };
        let leaves: Vec<_> = (1..=entries).map(leaf).collect();
        let (mut tiles, mut edge) = (Tiles::new(), CompactRange::default());
        for (index, leaf) in (0..).zip(&leaves) {
            let leaf = Hash::of_leaf(leaf);
            tiles.entry(TileId { level: 0, index: index >> 8 }).or_default().push(leaf);
            for completed in edge.append(leaf) {
                tiles.entry(completed.tile()).or_default().push(completed.hash);
            }
        }
        let origin = KeyName::parse(format!("audit.example.com/{log_id}")).expect("a name");
        let key = SigningKey::from_seed(&Random::seeded(entries as u64).bytes::<32>()).expect("32 bytes");
        Self { origin, key, leaves, tiles }
    }

    fn answer(&self, question: ProofRequest) -> Vec<Hash> {
        question.answer(&self.tiles).expect("whole tiles")
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        let root = self.answer(ProofRequest::root(size).expect("a size"))[0];
        Checkpoint { origin: self.origin.clone(), size, root }
    }

    /// Signs `checkpoint` with the log's key and name, even if it names another origin.
    fn signed(&self, checkpoint: &Checkpoint) -> String {
        sign(&checkpoint.text(), &self.origin, &[&self.key])
    }

    fn case(&self, size: u64, proof: Vec<Hash>) -> Case {
        Case {
            key: self.key.verifier(self.origin.clone()).text(),
            note: self.signed(&self.checkpoint(size)),
            old: String::new(),
            index: 0,
            leaf: String::new(),
            proof: proof.iter().map(Hash::to_string).collect(),
            is_true: true,
        }
    }

    fn inclusion(&self, index: u64, size: u64) -> Case {
        let proof = self.answer(ProofRequest::inclusion(index, size).expect("an index"));
        Case { index, leaf: base64(&self.leaves[index as usize]), ..self.case(size, proof) }
    }

    fn consistency(&self, old: u64, new: u64) -> Case {
        let proof = self.answer(ProofRequest::consistency(old, new).expect("sizes"));
        Case { old: self.signed(&self.checkpoint(old)), ..self.case(new, proof) }
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn unbase64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}

/// The verdict of this project.
fn verified(case: &Case) -> bool {
    let key = VerifierKey::parse(&case.key).expect("a key");
    let opened = |note: &str| {
        let text = open(note, std::slice::from_ref(&key)).ok()?;
        Checkpoint::parse(text).ok().filter(|checkpoint| checkpoint.origin == *key.name())
    };
    let proof: Vec<_> = case.proof.iter().map(|hash| Hash::parse(hash).expect("a hash")).collect();
    let Some(new) = opened(&case.note) else { return false };
    if case.old.is_empty() {
        return verify_inclusion(&unbase64(&case.leaf), case.index, &proof, new.size, new.root).is_ok();
    }
    let Some(old) = opened(&case.old) else { return false };
    verify_consistency(old.size, old.root, &proof, new.size, new.root).is_ok()
}

/// The ways to forge a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forgery {
    Leaf,
    Index,
    Element,
    Shorter,
    Longer,
    Order,
    Size,
    Root,
    AnotherRoot,
    Signature,
    AnotherKey,
    Origin,
}

const FORGERIES: [Forgery; 12] = [
    Forgery::Leaf,
    Forgery::Index,
    Forgery::Element,
    Forgery::Shorter,
    Forgery::Longer,
    Forgery::Order,
    Forgery::Size,
    Forgery::Root,
    Forgery::AnotherRoot,
    Forgery::Signature,
    Forgery::AnotherKey,
    Forgery::Origin,
];

/// Forges `case` of `log`; `None` if this forgery does not apply. `other` is another log of at least the same size.
fn forged(case: &Case, log: &Log, other: &Log, forgery: Forgery) -> Option<Case> {
    let mut case = Case { is_true: false, ..case.clone() };
    let is_inclusion = case.old.is_empty();
    let length = case.proof.len();
    let text = case.note.rfind("\n\n").map(|end| &case.note[..=end])?;
    let mut signed = Checkpoint::parse(text).ok()?;
    match forgery {
        Forgery::Leaf if is_inclusion => case.leaf = base64(&[&unbase64(&case.leaf)[..], b"\n"].concat()),
        Forgery::Index if is_inclusion => case.index = (case.index + 1) % signed.size.max(2),
        Forgery::Element if length > 0 => {
            let mut hash = Hash::parse(&case.proof[length / 2]).ok()?;
            hash.0[31] ^= 1;
            case.proof[length / 2] = hash.to_string();
        }
        Forgery::Shorter if length > 0 => drop(case.proof.pop()),
        Forgery::Longer => case.proof.push(signed.root.to_string()),
        Forgery::Order if length > 1 => case.proof.swap(0, length - 1),
        // A size for which every proof is longer. Some proofs also hold for other sizes nearby, which is why sizes are
        // signed.
        Forgery::Size => signed.size = signed.size * 2 + 1,
        Forgery::Root => signed.root.0[0] ^= 1,
        Forgery::AnotherRoot => signed.root = other.checkpoint(signed.size).root,
        Forgery::Origin => signed.origin = other.origin.clone(),
        Forgery::Signature | Forgery::AnotherKey => {}
        _ => return None,
    }
    case.note = match forgery {
        Forgery::AnotherKey => sign(&signed.text(), &log.origin, &[&other.key]),
        Forgery::Signature => {
            let note = log.signed(&signed);
            let (rest, signature) = note.trim_end().rsplit_once(' ')?;
            let mut bytes = unbase64(signature);
            // Changes the signature, not the key id before it.
            bytes[4 + signed.size as usize % 64] ^= 1;
            format!("{rest} {}\n", base64(&bytes))
        }
        _ => log.signed(&signed),
    };
    Some(case)
}

/// Every pair up to 70 entries, some pairs of 100,000, and a forged copy of each.
fn cases() -> Vec<Case> {
    const MANY: u64 = 100_000;
    let [log, other] = [("0123456789abcdef0123456789abcdef", MANY), ("fedcba9876543210fedcba9876543210", MANY + 1)]
        .map(|(log_id, entries)| Log::new(log_id, entries as i64));
    let pairs = (1..=70).flat_map(|size| (0..size).map(move |index| (index, size)));
    let mut cases: Vec<_> =
        pairs.flat_map(|(index, size)| [log.inclusion(index, size), log.consistency(index + 1, size)]).collect();
    let random = Random::seeded(256);
    let below = |bound: u64| u64::from_be_bytes(random.bytes()) % bound;
    for turn in 0..300 {
        let size = if turn % 3 == 0 { MANY } else { 1 + below(MANY) };
        cases.extend([log.inclusion(below(size), size), log.consistency(1 + below(size), size)]);
    }
    let mut used = [0; FORGERIES.len()];
    for place in 0..cases.len() {
        // Halved, because inclusion and consistency alternate and each must get every forgery.
        let chosen = [place / 2 % FORGERIES.len(), 4];
        let found = chosen.into_iter().find_map(|at| Some((at, forged(&cases[place], &log, &other, FORGERIES[at])?)));
        let (at, forgery) = found.expect("every proof can be made longer");
        used[at] += 1;
        cases.push(forgery);
    }
    assert!(used.iter().all(|times| *times > 150), "{used:?}");
    cases
}

/// The verdicts of Go; `None` without Go.
fn verified_by_go(cases: &[Case]) -> Option<Vec<bool>> {
    let mut verifier = go("main.go")?;
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let input = scratch.path().join("cases");
    let lines: Vec<_> = cases.iter().map(|case| serde_json::to_string(case).expect("JSON")).collect();
    fs::write(&input, lines.join("\n")).expect("a file");
    let output = verifier.stdin(File::open(&input).expect("a file")).output().expect("it runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(text(&output.stdout).lines().map(|line| line.parse().expect("true or false")).collect())
}

/// Whether Go opens a checkpoint with `key`; `None` without Go.
pub fn opened_by_go(key: &str, note: &str) -> Option<bool> {
    let (key, note) = (key.to_owned(), note.to_owned());
    let case = Case { key, old: note.clone(), note, index: 0, leaf: String::new(), proof: Vec::new(), is_true: true };
    verified_by_go(&[case]).map(|verdicts| verdicts == [true])
}

#[test]
fn valid_proofs_pass_and_forged_ones_fail_here_and_in_go() {
    let cases = cases();
    for case in &cases {
        assert_eq!(verified(case), case.is_true, "{case:?}");
    }
    let Some(by_go) = verified_by_go(&cases) else { return };
    assert_eq!(by_go.len(), cases.len());
    for (case, by_go) in cases.iter().zip(by_go) {
        assert_eq!(by_go, case.is_true, "{case:?}");
    }
}
