//! The measured figures, with units and targets. They are printed as tables and written to a file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The limit that a value must meet.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(formatter, "≤ {most}"),
            Self::AtLeast(least) => write!(formatter, "≥ {least}"),
        }
    }
}

/// One measured value: a cell in the table of its section.
#[derive(Clone, Serialize, Deserialize)]
pub struct Figure {
    /// For example `lists, postgres`.
    pub section: String,
    /// The measured object: the row of the table.
    pub name: String,
    /// The measured property, for example `latency p50`: the column of the table.
    pub measure: String,
    pub value: f64,
    pub unit: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

/// All figures of a run.
#[derive(Default, Serialize, Deserialize)]
pub struct Report {
    /// The environment of the run, for example the commit and the CPU.
    pub facts: BTreeMap<String, String>,
    pub figures: Vec<Figure>,
    /// The index of the first figure of the current section.
    #[serde(skip)]
    begin: usize,
    #[serde(skip)]
    section: String,
}

impl Report {
    /// Reads the file of an earlier run.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} holds no figures of this benchmark", path.display()))
    }

    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Starts a section: later figures belong to it.
    pub fn begin(&mut self, section: &str) {
        self.section = section.to_owned();
        self.begin = self.figures.len();
    }

    pub fn add(&mut self, name: &str, measure: &str, value: f64, unit: &str) {
        self.push(name, measure, value, unit, None);
    }

    pub fn add_for(&mut self, name: &str, measure: &str, value: f64, unit: &str, target: Target) {
        self.push(name, measure, value, unit, Some(target));
    }

    fn push(&mut self, name: &str, measure: &str, value: f64, unit: &str, target: Option<Target>) {
        let [name, measure, unit] = [name, measure, unit].map(str::to_owned);
        self.figures.push(Figure { section: self.section.clone(), name, measure, value, unit, target });
    }

    /// Prints the figures of the current section, with a row for each name and a column for each measure, then the
    /// targets.
    pub fn print(&self) {
        let figures = &self.figures[self.begin..];
        if figures.is_empty() {
            return;
        }
        let columns = distinct(figures.iter().map(column));
        let names = distinct(figures.iter().map(|figure| figure.name.clone()));
        let mut table = vec![[vec![self.section.clone()], columns.clone()].concat()];
        for name in names {
            let mut row = vec![name.clone()];
            for column_name in &columns {
                let is = |figure: &&Figure| figure.name == name && column(figure) == *column_name;
                row.push(figures.iter().find(is).map_or_else(String::new, |figure| shown(figure.value)));
            }
            table.push(row);
        }
        println!("\n{}", aligned(&table));
        for figure in figures {
            if let Some(target) = figure.target {
                println!("{}", verdict(figure, target));
            }
        }
    }

    /// Prints the figures that missed their target, and how many reached it.
    pub fn conclude(&self) {
        let aimed = || self.figures.iter().filter_map(|figure| Some((figure, figure.target?)));
        let missed: Vec<_> = aimed().filter(|(figure, target)| !target.is_reached(figure.value)).collect();
        println!("\n{} of {} targets reached", aimed().count() - missed.len(), aimed().count());
        for (figure, target) in missed {
            println!("{} · {}", figure.section, verdict(figure, target));
        }
    }
}

fn verdict(figure: &Figure, target: Target) -> String {
    let Figure { name, measure, value, unit, .. } = figure;
    let outcome = if target.is_reached(*value) { "reached" } else { "MISSED " };
    let gap = if measure.is_empty() { "" } else { ", " };
    format!("  {outcome}  {target} {unit}: {} {unit}  {name}{gap}{measure}", shown(*value))
}

fn column(figure: &Figure) -> String {
    format!("{} {}", figure.measure, figure.unit).trim().to_owned()
}

fn distinct(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut all = Vec::new();
    for item in items {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    all
}

/// Formats a value with up to two decimal places, fewer for larger values.
fn shown(value: f64) -> String {
    let digits = match value.abs() {
        whole if whole.fract() == 0.0 => 0,
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

fn aligned(table: &[Vec<String>]) -> String {
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..table[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cell = |(place, (cell, width)): (usize, (&String, &usize))| match place {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        };
        row.iter().zip(&widths).enumerate().map(cell).collect::<Vec<_>>().join("  ")
    };
    table.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Latencies of one kind.
#[derive(Default, Clone)]
pub struct Times(pub Vec<Duration>);

impl Times {
    /// The nearest-rank percentile in milliseconds: `share` of the times are at most this long.
    pub fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        let place = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(place.clamp(1, sorted.len().max(1)) - 1).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }

    pub fn p50(&self) -> f64 {
        self.percentile(0.50)
    }

    pub fn p99(&self) -> f64 {
        self.percentile(0.99)
    }
}
