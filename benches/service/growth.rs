//! How medians grow with the number of entries.

use crate::figure::{Figure, Report, Target};
use crate::sections::lists::OVERALL;

/// A flat cost, within what one run differs from another.
const FLAT: Target = Target::AtMost(1.3);

/// Prints how the medians of `section` relate to those of `earlier`, figures of a smaller database: the CPU of the
/// database, or of the process that holds it, and the latency.
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
