//! Compares the medians of two sizes.

use crate::figure::{Figure, Report, Target};
use crate::sections::lists::OVERALL;

/// The maximum ratio that counts as flat, given the variation between runs.
const FLAT: Target = Target::AtMost(1.3);

/// Reports the ratio of the medians of `section` to those of `earlier`, the figures of a smaller database: latency, and
/// the CPU of the database or of the process that contains it.
pub fn compare(report: &mut Report, section: &str, earlier: &[Figure], title: &str) {
    let cpu = if section.ends_with("postgres") { "database CPU p50" } else { "service CPU p50" };
    let now: Vec<_> = report.figures.iter().filter(|figure| figure.section == section).cloned().collect();
    report.begin(title);
    for Figure { name, measure, value, .. } in now {
        let is = |figure: &&Figure| figure.name == name && figure.measure == measure;
        let Some(then) = earlier.iter().find(is) else { continue };
        let ratio = value / then.value;
        if measure == cpu || (measure == "latency p50" && section.ends_with("sqlite") && name == OVERALL) {
            report.add_for(&name, &format!("{measure} ratio"), ratio, "", FLAT);
        } else if measure == "latency p50" {
            report.add(&name, &format!("{measure} ratio"), ratio, "");
        }
    }
    report.print();
}
