//! The figures of a run and the table that prints them.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

/// The counts of one scene.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub database: &'static str,
    pub name: String,
    pub faults: u64,
    pub requests: u64,
    /// The number of acknowledged entries.
    pub acknowledged: u64,
    pub stored: u64,
    pub resent: u64,
    pub repeated: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub wrong: u64,
    pub walks: u64,
    pub checkpoints: u64,
    /// The errors that clients saw, with their counts.
    pub troubles: BTreeMap<String, u64>,
    /// The highest resident memory of a service, in bytes.
    pub memory: f64,
    pub took: Duration,
}

impl Figures {
    pub fn new(database: &'static str, name: &str) -> Self {
        Self { database, name: name.to_owned(), ..Self::default() }
    }
}

const COLUMNS: [&str; 14] = [
    "database",
    "fault",
    "faults",
    "requests",
    "acknowledged",
    "stored",
    "resent",
    "repeated",
    "lost",
    "doubled",
    "wrong",
    "walks",
    "checkpoints",
    "MB",
];

/// Prints a row for each scene, and the sum.
pub fn print(all: &[Figures]) {
    let mut lines = vec![COLUMNS.map(str::to_owned).to_vec()];
    let mut sum = Figures::new("all", "");
    for one in all {
        lines.push(cells(one));
        sum.faults += one.faults;
        sum.requests += one.requests;
        sum.acknowledged += one.acknowledged;
        sum.stored += one.stored;
        sum.resent += one.resent;
        sum.repeated += one.repeated;
        sum.lost += one.lost;
        sum.duplicated += one.duplicated;
        sum.wrong += one.wrong;
        sum.walks += one.walks;
        sum.checkpoints += one.checkpoints;
        sum.memory = sum.memory.max(one.memory);
    }
    lines.push(cells(&sum));
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..COLUMNS.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        for (place, (cell, width)) in line.iter().zip(&widths).enumerate() {
            text += &if place < 2 { format!("{cell:<width$}  ") } else { format!("{cell:>width$}  ") };
        }
        text = text.trim_end().to_owned() + "\n";
    }
    for one in all.iter().filter(|one| !one.troubles.is_empty()) {
        let seen: Vec<_> = one.troubles.iter().map(|(trouble, count)| format!("{trouble} {count}")).collect();
        text += &format!("clients saw, {}, {}: {}\n", one.database, one.name, seen.join(", "));
    }
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn cells(one: &Figures) -> Vec<String> {
    let counts = [
        one.faults,
        one.requests,
        one.acknowledged,
        one.stored,
        one.resent,
        one.repeated,
        one.lost,
        one.duplicated,
        one.wrong,
        one.walks,
        one.checkpoints,
        (one.memory / 1e6) as u64,
    ];
    [one.database.to_owned(), one.name.clone()].into_iter().chain(counts.map(|count| count.to_string())).collect()
}
