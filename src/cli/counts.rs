//! `auditlog counts`: the number of entries by time, action, type, outcome, user or resource.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use indicatif::HumanCount;
use unicode_width::UnicodeWidthStr;

use super::client::{ClientArgs, explained};
use super::filters::FilterArgs;
use super::table::{HEADER, visible};
use crate::grpc::pb::{AuditLogBucket, AuditLogCounts, CountAuditLogsRequest, CountAuditLogsResponse};
use crate::rest::counts;

#[derive(Args)]
#[command(after_help = "\
Examples:
  auditlog counts --organization org_abc123 --by month
  auditlog counts --organization org_abc123 --by day --time-zone Europe/Berlin \\
    --start-date 2025-01-01 --end-date 2025-01-31
  auditlog counts --organization org_abc123 --by action --by outcome --json
  auditlog counts --organization org_abc123 --by user --top 3 --action deleted")]
pub struct CountsArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Organization id.
    #[arg(long, env = "AUDITLOG_ORGANIZATION", value_name = "ORG", required = true)]
    organization: String,
    /// Print a table with one line for each of these. Repeat the option for more tables, at most 5. At most one is a
    /// unit of time; it covers the dates of the filters, or all entries, with at most 200 lines. For user and resource,
    /// the filters must match at most 50,000 entries.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "GROUP")]
    by: Vec<CountsBy>,
    /// IANA time zone of a unit of time, such as Europe/Berlin. Default: UTC.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Number of users or resources with most entries, 1 to 100. Default: 10.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=100), value_name = "N")]
    top: Option<i32>,
    #[command(flatten)]
    filters: FilterArgs,
    /// Print one line of JSON, in the format of the REST API.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum CountsBy {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Action,
    Type,
    Outcome,
    User,
    Resource,
}

impl CountsBy {
    /// The name in the gRPC contract, and the header of the column.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Minute => ("minute", "MINUTE"),
            Self::Hour => ("hour", "HOUR"),
            Self::Day => ("day", "DAY"),
            Self::Week => ("week", "WEEK"),
            Self::Month => ("month", "MONTH"),
            Self::Action => ("action", "ACTION"),
            Self::Type => ("resource_type", "TYPE"),
            Self::Outcome => ("outcome", "OUTCOME"),
            Self::User => ("user_id", "USER"),
            Self::Resource => ("resource_id", "RESOURCE"),
        }
    }
}

impl CountsArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { client, organization, by, time_zone, top, filters, json } = self;
        let request = CountAuditLogsRequest {
            organization_id: organization,
            filter: Some(filters.message()?),
            by: by.iter().map(|by| by.names().0.to_owned()).collect(),
            time_zone: time_zone.unwrap_or_default(),
            top,
        };
        let answer = client.connect()?.count_audit_logs(request).await;
        let answer = answer.map_err(|status| explained(&status, &client.endpoint))?.into_inner();
        if json {
            let mut line = serde_json::to_vec(&counts::body(answer))?;
            line.push(b'\n');
            return Ok(io::stdout().write_all(&line)?);
        }
        let CountAuditLogsResponse { total, head_sequence: _, counts } = answer;
        if by.is_empty() {
            return Ok(writeln!(io::stdout(), "{}", number(total))?);
        }
        let terminal = terminal_width();
        let headers = by.iter().map(|by| by.names().1);
        let tables: Vec<_> =
            headers.zip(counts).map(|(header, counts)| table(header, counts, total, terminal)).collect();
        Ok(anstream::stdout().write_all(tables.join("\n").as_bytes())?)
    }
}

/// The number of columns of the terminal; `None` if standard output is none.
fn terminal_width() -> Option<usize> {
    /// Some programs that stand for a terminal do not know their size.
    const USUAL: u16 = 80;
    let out = io::stdout();
    let size = || rustix::termios::tcgetwinsize(&out).ok().map(|size| size.ws_col).filter(|columns| *columns > 0);
    out.is_terminal().then(|| usize::from(size().unwrap_or(USUAL)))
}

/// A line for each bucket, with a bar on a terminal, and one for their sum.
fn table(header: &str, counts: AuditLogCounts, total: i64, terminal: Option<usize>) -> String {
    let AuditLogCounts { by: _, buckets, other } = counts;
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0);
    let mut rows: Vec<_> = buckets.into_iter().map(|bucket| (name(&bucket), bucket.count, true)).collect();
    rows.extend(other.filter(|other| *other > 0).map(|other| ("other".to_owned(), other, false)));
    rows.push(("total".to_owned(), total, false));
    let numbers: Vec<_> = rows.iter().map(|(_, count, _)| number(*count)).collect();
    let names = rows.iter().map(|(name, ..)| name.width()).chain([header.len()]).max().unwrap_or(0);
    let digits = numbers.iter().map(String::len).chain([COUNT.len()]).max().unwrap_or(0);
    let columns = terminal.map(|columns| columns.saturating_sub(names + digits + 4).max(MIN_BAR));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{HEADER}{header:names$}{HEADER:#}  {HEADER}{COUNT:>digits$}{HEADER:#}");
    for ((name, count, has_bar), number) in rows.iter().zip(&numbers) {
        let padding = names.saturating_sub(name.width());
        let _ = write!(text, "{name}{:padding$}  {number:>digits$}", "");
        if let Some(columns) = columns.filter(|_| *has_bar && *count > 0) {
            let _ = write!(text, "  {}", bar(*count, most, columns));
        }
        text.push('\n');
    }
    text
}

/// The header of the numbers.
const COUNT: &str = "ENTRIES";
/// The length of the longest bar on a narrow terminal.
const MIN_BAR: usize = 8;

fn name(bucket: &AuditLogBucket) -> String {
    let value = bucket.value.as_deref().map_or_else(|| "(none)".to_owned(), visible);
    match &bucket.resource_type {
        Some(resource_type) => format!("{} {value}", visible(resource_type)),
        None => value,
    }
}

fn number(count: i64) -> String {
    HumanCount(u64::try_from(count).unwrap_or(0)).to_string()
}

/// A bar for `count` above 0, in eighths of a column. The bar of `most` has `columns`.
fn bar(count: i64, most: i64, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = count as f64 / most.max(1) as f64;
    let eighths = ((share * columns as f64 * 8.0).round() as usize).max(1);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(value: Option<&str>, count: i64) -> AuditLogBucket {
        AuditLogBucket { value: value.map(str::to_owned), count, ..AuditLogBucket::default() }
    }

    #[test]
    fn bars_are_scaled_to_the_largest_group() {
        let buckets =
            vec![bucket(Some("success"), 1_600), bucket(None, 900), bucket(Some("denied"), 1), bucket(Some("x"), 0)];
        let counts = AuditLogCounts { by: "outcome".to_owned(), buckets, other: None };
        let plain =
            |terminal| anstream::adapter::strip_str(&table("OUTCOME", counts.clone(), 2_501, terminal)).to_string();
        let expected = "\
OUTCOME  ENTRIES
success    1,600  ████████████████
(none)       900  █████████
denied         1  ▏
x              0
total      2,501
";
        assert_eq!(plain(Some(34)), expected);
        let piped: String =
            expected.lines().map(|line| line.trim_end_matches(['█', '▏', ' ']).to_owned() + "\n").collect();
        assert_eq!(plain(None), piped);
        assert!(plain(Some(1)).contains("success    1,600  ████████\n"), "a narrow terminal has short bars");
    }

    #[test]
    fn all_other_users_have_a_line() {
        let buckets = vec![bucket(Some("uid_\u{1b}1"), 2)];
        let counts = AuditLogCounts { by: "user_id".to_owned(), buckets, other: Some(3) };
        let shown = anstream::adapter::strip_str(&table("USER", counts, 5, None)).to_string();
        assert_eq!(shown, "USER         ENTRIES\nuid_\\u{1b}1        2\nother              3\ntotal              5\n");
    }
}
