//! Text for a terminal: plain, aligned, and without control characters from outside.

use std::io::{ErrorKind, Write};

use orders::{Difference, OrderView};
use time::OffsetDateTime;
use time::macros::format_description;

/// Characters of a text from outside that are shown.
const TEXT_MAX: usize = 200;

/// Prints to a pipe, too, whose reader ends early.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    print_bytes(text.as_bytes())
}

pub(super) fn print_bytes(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

pub(super) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(print(&format!("{}\n", serde_json::to_string_pretty(value)?))?)
}

/// In UTC, to the millisecond.
pub(super) fn utc(at: OffsetDateTime) -> String {
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.to_offset(time::UtcOffset::UTC).format(form).unwrap_or_else(|_| at.to_string())
}

/// A text from outside on one line. Terminals execute control characters, and some characters
/// reverse the order of a line.
pub(super) fn plain(text: &str) -> String {
    let is_control = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let replaced = |c| if is_control(c) { '\u{fffd}' } else { c };
    let mut line: String = text.chars().take(TEXT_MAX).map(replaced).collect();
    if text.chars().nth(TEXT_MAX).is_some() {
        line.push('…');
    }
    line
}

/// Columns, each as wide as its widest cell. The last one is not padded.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let lines = || std::iter::once(&head).chain(rows);
    let width = |column: usize| lines().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in lines() {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One line for each name and value.
pub(super) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:width$}  {value}\n");
    rows.iter().map(line).collect()
}

/// The text on one line; `-` where there is none.
pub(super) fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map_or_else(|| "-".to_owned(), plain)
}

/// For example `1 app`, `2 apps`.
pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// For example `paid (seq 3)`.
pub(super) fn state_and_seq(view: &OrderView) -> String {
    format!("{} (seq {})", view.state, view.seq)
}

/// For example `total_fee: ours 9900, theirs 9901`.
pub(super) fn differing(differs: &[Difference]) -> String {
    let one =
        |it: &Difference| plain(&format!("{}: ours {}, theirs {}", it.field, it.ours, it.theirs));
    differs.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn columns_are_aligned() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let text = table(["A", "LAST"], &[row("longer", "x"), row("é", "")]);
        assert_eq!(text, "A       LAST\nlonger  x\né\n");
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(plain("a\x1b[31m\nb\u{202e}c"), "a\u{fffd}[31m\u{fffd}b\u{fffd}c");
        assert_eq!(plain(&"x".repeat(300)).chars().count(), TEXT_MAX + 1);
    }

    #[test]
    fn times_are_utc_to_the_millisecond() {
        assert_eq!(utc(datetime!(2026-11-20 07:01:02.5 +8)), "2026-11-19T23:01:02.500Z");
    }
}
