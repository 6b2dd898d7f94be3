//! Text for a terminal: plain, aligned, and free of whatever others may have put into it.

use std::io::{ErrorKind, Write};

use time::OffsetDateTime;
use time::macros::format_description;

/// Longest text of others that is shown, in characters.
const TEXT_MAX: usize = 200;

/// Prints, and does not mind when nobody reads to the end.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    print_bytes(text.as_bytes())
}

/// The same for bytes that are nobody's text.
pub(super) fn print_bytes(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Prints one JSON document.
pub(super) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(print(&format!("{}\n", serde_json::to_string_pretty(value)?))?)
}

/// In UTC, to the millisecond.
pub(super) fn utc(at: OffsetDateTime) -> String {
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.to_offset(time::UtcOffset::UTC).format(form).unwrap_or_else(|_| at.to_string())
}

/// A text of others on one line. Terminals obey control characters, and some characters turn the
/// order of a line around.
pub(super) fn plain(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let shown = |c| if obeyed(c) { '\u{fffd}' } else { c };
    let mut line: String = text.chars().take(TEXT_MAX).map(shown).collect();
    if text.chars().nth(TEXT_MAX).is_some() {
        line.push('…');
    }
    line
}

/// Columns, each as wide as its widest cell, the last one as long as it likes.
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

/// Names and values, one below the other.
pub(super) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:width$}  {value}\n");
    rows.iter().map(line).collect()
}

/// What stands where there is nothing.
pub(super) fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map_or_else(|| "-".to_owned(), plain)
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
    fn no_text_can_command_the_terminal() {
        assert_eq!(plain("a\x1b[31m\nb\u{202e}c"), "a\u{fffd}[31m\u{fffd}b\u{fffd}c");
        assert_eq!(plain(&"x".repeat(300)).chars().count(), TEXT_MAX + 1);
    }

    #[test]
    fn times_are_utc_to_the_millisecond() {
        assert_eq!(utc(datetime!(2026-11-20 07:01:02.5 +8)), "2026-11-19T23:01:02.500Z");
    }
}
