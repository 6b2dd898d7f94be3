//! The table, and one line of JSON per row.

use std::fmt;

use serde_json::{Map, Value, json};

/// One measurement beside those that it is compared with.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    pub(crate) peer: Option<f64>,
    /// The most that this machine allows: see `limit`.
    pub(crate) limit: Option<f64>,
    /// What belongs to it, by name.
    pub(crate) details: Vec<(&'static str, String)>,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self { name: name.into(), unit, ours, peer: None, limit: None, details: Vec::new() }
    }

    pub(crate) fn detail(&mut self, name: &'static str, value: impl ToString) {
        self.details.push((name, value.to_string()));
    }

    fn to_peer(&self) -> Option<f64> {
        self.peer.filter(|peer| *peer > 0.0).map(|peer| self.ours / peer)
    }

    fn to_limit(&self) -> Option<f64> {
        self.limit.filter(|limit| *limit > 0.0).map(|limit| self.ours / limit)
    }

    /// The row as one line of JSON, for the comparison of runs.
    fn json(&self) -> String {
        let details: Map<String, Value> =
            self.details.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let row = json!({
            "row": self.name,
            "unit": self.unit,
            "ours": rounded(self.ours),
            "peer": self.peer.map(rounded),
            "to_peer": self.to_peer().map(rounded),
            "limit": self.limit.map(rounded),
            "to_limit": self.to_limit().map(rounded),
            "details": details,
        });
        row.to_string()
    }

    fn cells(&self) -> [String; 7] {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), shown);
        let ratio = |value: Option<f64>| value.map_or("-".to_owned(), |it| format!("{it:.2}"));
        [
            self.name.clone(),
            shown(self.ours),
            self.unit.to_owned(),
            number(self.peer),
            ratio(self.to_peer()),
            number(self.limit),
            ratio(self.to_limit()),
        ]
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.name, shown(self.ours), self.unit)?;
        for (name, value) in [("the peer", self.peer), ("the limit", self.limit)] {
            if let Some(value) = value {
                write!(f, ", {name} {}", shown(value))?;
            }
        }
        Ok(())
    }
}

const TITLES: [&str; 7] = ["row", "ours", "", "peer", "ratio", "limit", "ratio"];

/// Prints the table, what belongs to each row, and the lines of JSON.
pub(crate) fn print(rows: &[Row]) {
    let mut lines = vec![TITLES.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let widths: Vec<usize> = (0..TITLES.len())
        .map(|at| lines.iter().map(|cells| cells[at].chars().count()).max().unwrap_or_default())
        .collect();
    println!();
    for (number, cells) in lines.iter().enumerate() {
        let padded = cells.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            let is_text = at == 0 || at == 2;
            if is_text { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        println!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
        let details = number.checked_sub(1).map(|at| &rows[at].details);
        for (name, value) in details.into_iter().flatten() {
            println!("    {name}: {value}");
        }
    }
    println!();
    for row in rows {
        println!("{}", row.json());
    }
}

fn shown(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
