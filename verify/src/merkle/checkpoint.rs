//! Checkpoints: the commitment of a log to its entries (C2SP tlog-checkpoint). They are signed as notes.

use super::{Hash, KeyName};
use crate::types::{Invalid, quoted};

/// The state of a log at one time. This service writes no extension lines, and refuses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The origin of the log, which is also the name of the keys that sign for it.
    pub origin: KeyName,
    /// The number of entries.
    pub size: u64,
    /// The root hash of the tree.
    pub root: Hash,
}

impl Checkpoint {
    /// The text to sign.
    pub fn text(&self) -> String {
        let Self { origin, size, root } = self;
        format!("{origin}\n{size}\n{root}\n")
    }

    /// Reads the text of an opened note. Errors: anything that [`Checkpoint::text`] would not write.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let malformed = || Invalid::new("must be a checkpoint of origin, size and root", quoted(text));
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or_else(malformed);
        let origin = KeyName::parse(line()?)?;
        let size = line()?.parse().map_err(|_| malformed())?;
        let checkpoint = Self { origin, size, root: Hash::parse(line()?)? };
        (checkpoint.text() == text).then_some(checkpoint).ok_or_else(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_three_lines_in_one_spelling() {
        let root = Hash::of_nothing();
        let text = format!("audit.example.com/log\n10\n{root}\n");
        let checkpoint = Checkpoint::parse(&text).expect("a checkpoint");
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("audit.example.com/log", 10));
        assert_eq!(checkpoint.text(), text);
        for other in [
            text.replace("10", "010"),
            text.replace("10", "+10"),
            text.replace("10", "-10"),
            text.replace("10", "18446744073709551616"),
            text.replace('\n', "\r\n"),
            text.replace("audit", "the audit"),
            text.replace('=', ""),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            format!("{text}extension\n"),
            format!("\n{text}"),
            String::new(),
        ] {
            assert!(Checkpoint::parse(&other).is_err(), "{other}");
        }
    }
}
