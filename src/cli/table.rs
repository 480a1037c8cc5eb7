//! Entries for people: one line each, followed by the changes as `field: old → new`.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

use crate::domain::Outcome;
use crate::grpc::pb::{AuditLog, Change};
use crate::rest::entry::{FieldValue, fields};
use crate::rest::json;

/// Changes shown below an entry of a list. `auditlog get` shows all.
const CHANGES: usize = 10;
/// The maximum number of characters of a value that a list shows.
pub(super) const VALUE: usize = 100;

pub(super) const HEADER: Style = Style::new().bold();
pub(super) const FAINT: Style = Style::new().dimmed();
pub(super) const OLD: Style = AnsiColor::Red.on_default();
pub(super) const NEW: Style = AnsiColor::Green.on_default();

/// The columns of a list.
const COLUMNS: [&str; 5] = ["TIME", "ACTION", "RESOURCE", "USER", "ID"];

/// Writes entries of a list, with a header above the first ones.
pub(super) fn list(out: &mut impl Write, entries: &[AuditLog], is_first: bool) -> io::Result<()> {
    let rows: Vec<_> = entries.iter().map(cells).collect();
    let header = COLUMNS.map(str::to_owned);
    let widths = widths(&header, &rows);
    let mut text = String::new();
    if is_first && !entries.is_empty() {
        row(&mut text, &header, &widths, |_| HEADER);
    }
    for (entry, cells) in entries.iter().zip(&rows) {
        row(&mut text, cells, &widths, |column| match column {
            1 => of_action(&entry.action),
            4 => FAINT,
            _ => Style::new(),
        });
        details(&mut text, entry);
    }
    out.write_all(text.as_bytes())
}

/// Rows of cells in columns, below a header. `style` is that of a cell, by its row and its column.
pub(super) fn rows<const N: usize>(
    header: [&str; N],
    rows: &[[String; N]],
    style: impl Fn(&[String; N], usize) -> Style,
) -> String {
    let header = header.map(str::to_owned);
    let widths = widths(&header, rows);
    let mut text = String::new();
    row(&mut text, &header, &widths, |_| HEADER);
    for cells in rows {
        row(&mut text, cells, &widths, |column| style(cells, column));
    }
    text
}

/// The width of each column.
fn widths<const N: usize>(header: &[String; N], rows: &[[String; N]]) -> [usize; N] {
    std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].width());
        cells.fold(header[column].width(), usize::max)
    })
}

/// Writes entries one by one, without a header and without columns: those that come later may be wider.
pub(super) fn followed(out: &mut impl Write, entries: &[AuditLog]) -> io::Result<()> {
    let mut text = String::new();
    for entry in entries {
        let ([time, action, resource, user, _], style) = (cells(entry), of_action(&entry.action));
        line(&mut text, format_args!("{FAINT}{time}{FAINT:#}  {user}  {style}{action}{style:#}  {resource}"));
        details(&mut text, entry);
    }
    out.write_all(text.as_bytes())
}

/// The lines below an entry: what was erased, and what changed.
fn details(text: &mut String, entry: &AuditLog) {
    if !entry.erased.is_empty() {
        line(text, format_args!("    {FAINT}erased: {}{FAINT:#}", entry.erased.join(", ")));
    }
    for one in entry.changes.iter().take(CHANGES) {
        change(text, one, "    ", VALUE);
    }
    match entry.changes.len().saturating_sub(CHANGES) {
        0 => {}
        more => line(text, format_args!("    {FAINT}… {more} more: auditlog get {}{FAINT:#}", visible(&entry.id))),
    }
}

/// Writes all fields of an entry that are present, with their public names, and then the changes.
pub(super) fn entry(out: &mut impl Write, entry: &AuditLog) -> io::Result<()> {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        let style = if name == "action" { of_action(value) } else { Style::new() };
        line(&mut text, format_args!("{FAINT}{:<18}{FAINT:#} {style}{}{style:#}", visible(name), visible(value)));
    };
    for (name, value) in fields(entry) {
        match value {
            FieldValue::Absent | FieldValue::Groups([]) | FieldValue::Changes(_) => {}
            FieldValue::Text(value) => field(name, value),
            FieldValue::Number(number) => field(name, &number.to_string()),
            FieldValue::Time(instant) => field(name, &time(instant)),
            FieldValue::Metadata(pairs) => {
                pairs.iter().for_each(|(key, value)| field(&format!("metadata.{key}"), value));
            }
            FieldValue::Groups(groups) => field(name, &groups.join(", ")),
        }
    }
    for one in &entry.changes {
        change(&mut text, one, "  ", usize::MAX);
    }
    out.write_all(text.as_bytes())
}

fn cells(entry: &AuditLog) -> [String; 5] {
    let named = |id: &str, name: &Option<String>| match name.as_deref() {
        Some(name) => format!("{} ({})", visible(id), cut(visible(name), 40)),
        None => visible(id),
    };
    let resource = named(&entry.resource_id, &entry.resource_name);
    [
        time(entry.timestamp),
        action(entry),
        format!("{} {resource}", visible(&entry.resource_type)),
        named(&entry.user_id, &entry.user_name),
        visible(&entry.id),
    ]
}

/// The action. With its outcome if it was not done, so that nobody takes a refused deletion for a deletion.
fn action(entry: &AuditLog) -> String {
    let action = visible(&entry.action);
    match entry.outcome.as_deref() {
        Some(outcome) if outcome != Outcome::Success.name() => format!("{action} ({})", visible(outcome)),
        _ => action,
    }
}

fn row<const N: usize>(text: &mut String, cells: &[String; N], widths: &[usize; N], style: impl Fn(usize) -> Style) {
    let mut padded = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let style = style(column);
        let padding = if column + 1 == cells.len() { 0 } else { width.saturating_sub(cell.width()) + 2 };
        // Writing to a string cannot fail.
        let _ = write!(padded, "{style}{cell}{style:#}{:padding$}", "");
    }
    line(text, format_args!("{padded}"));
}

fn change(text: &mut String, change: &Change, indent: &str, longest: usize) {
    let value = |json: &Option<String>| cut(visible(json.as_deref().unwrap_or("null")), longest);
    let (field, old, new) =
        (cut(visible(&change.field), longest), value(&change.old_value_json), value(&change.new_value_json));
    line(text, format_args!("{indent}{field}: {OLD}{old}{OLD:#} → {NEW}{new}{NEW:#}"));
}

pub(super) fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}

fn of_action(action: &str) -> Style {
    match action {
        "created" => NEW,
        "deleted" => OLD,
        _ => AnsiColor::Yellow.on_default(),
    }
}

/// The time, or `-` if there is none.
pub(super) fn time(time: Option<prost_types::Timestamp>) -> String {
    json::time(time).unwrap_or_else(|| "-".to_owned())
}

/// The first `longest` characters, followed by `…` if there are more.
pub(super) fn cut(text: String, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Escapes characters in `text` that control a terminal, reorder text, or are invisible. The writer of an entry chooses
/// these strings, and the reader may be investigating that writer.
pub(super) fn visible(text: &str) -> String {
    // Unicode's Bidi_Control, and characters without width.
    let hides = |letter| matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() || hides(letter) {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_control_characters_are_escaped() {
        assert_eq!(visible("a\u{1b}[2Jb\nc\u{202e}d\u{9b}é→"), "a\\u{1b}[2Jb\\nc\\u{202e}d\\u{9b}é→");
    }
}
