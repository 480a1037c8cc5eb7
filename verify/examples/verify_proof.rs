//! Verifies a proof file: `cargo run --example verify_proof -- FILE VERIFIER_KEY`.

use auditlog_verify::log::{Proof, Trust};
use auditlog_verify::merkle::VerifierKey;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, file, key] = &arguments[..] else { return Err("usage: verify_proof FILE VERIFIER_KEY".into()) };
    let trust = Trust::new([VerifierKey::parse(key)?])?;
    let proved = Proof::parse(&std::fs::read_to_string(file)?)?.verify(&trust)?;
    println!("entry {} of {} is in the signed log: {:?}", proved.seq, proved.checkpoint.origin, proved.groups);
    Ok(())
}
