//! The arguments, like `ROWS=creates` and `SECONDS=10`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// What can be measured, in the order of the table. Those of `EXTRA` run only when they are named.
pub(crate) const ROWS: [&str; 6] =
    ["creates", "waiting", "burst", "notifications", "settle", "fairness"];
pub(crate) const EXTRA: [&str; 2] = ["growth", "soak"];

const NAMES: [&str; 12] = [
    "ROWS",
    "ORDERS",
    "SECONDS",
    "TIMEOUT",
    "MERCHANTS",
    "RATE",
    "VIA",
    "NOTIFICATIONS",
    "WAITING",
    "GROWN",
    "MINUTES",
    "PEER",
];

/// How a burst of orders arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Amqp,
    Http,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amqp => "AMQP",
            Self::Http => "HTTP",
        })
    }
}

pub(crate) struct Settings {
    rows: Vec<String>,
    /// The sizes of the bursts.
    pub(crate) orders: Vec<usize>,
    /// How long each rate is measured.
    pub(crate) within: Duration,
    /// The longest wait for the end of a burst.
    pub(crate) timeout: Duration,
    /// How many merchants the orders are spread over.
    pub(crate) merchants: usize,
    /// The `requests_per_second` of each merchant, which bounds the rate that it finds.
    pub(crate) rate: u32,
    pub(crate) via: Via,
    /// Payable orders that are loaded before notifications are settled.
    pub(crate) notifications: usize,
    /// The orders that wait while another merchant's are timed.
    pub(crate) waiting: usize,
    /// The settled orders in the tables when growth is measured.
    pub(crate) grown: usize,
    pub(crate) soak: Duration,
    /// The folder of the peer, if it is measured, too.
    pub(crate) peer: Option<PathBuf>,
}

impl Settings {
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut given = Vec::new();
        for argument in arguments {
            let (name, value) = argument.split_once('=').context("arguments are NAME=value")?;
            ensure!(NAMES.contains(&name), "{name} is none of {}", NAMES.join(", "));
            given.push((name.to_owned(), value.to_owned()));
        }
        let given = Given(given);
        let rows = match given.text("ROWS") {
            Some(rows) => words(rows).map(str::to_owned).collect(),
            None => ROWS.map(str::to_owned).to_vec(),
        };
        let known = || ROWS.iter().chain(&EXTRA);
        for row in &rows {
            ensure!(
                known().any(|it| it == row),
                "{row} is none of {}",
                [&ROWS[..], &EXTRA].concat().join(", ")
            );
        }
        let orders = match given.text("ORDERS") {
            Some(orders) => words(orders)
                .map(|word| word.parse().with_context(|| format!("ORDERS: {word}")))
                .collect::<Result<_>>()?,
            None => vec![1_000, 20_000],
        };
        let via = match given.text("VIA") {
            None | Some("amqp") => Via::Amqp,
            Some("http") => Via::Http,
            Some(other) => bail!("VIA must be amqp or http, not {other}"),
        };
        let merchants = given.number("MERCHANTS", 8)?;
        ensure!((2..=99).contains(&merchants), "MERCHANTS must be 2 to 99");
        Ok(Self {
            rows,
            orders,
            within: Duration::from_secs(given.number("SECONDS", 8)?),
            timeout: Duration::from_secs(given.number("TIMEOUT", 60)?),
            merchants,
            rate: given.number("RATE", 2_000)?,
            via,
            notifications: given.number("NOTIFICATIONS", 60_000)?,
            waiting: given.number("WAITING", 20_000)?,
            grown: given.number("GROWN", 5_000_000)?,
            soak: Duration::from_secs(60) * given.number("MINUTES", 10)?,
            peer: given.text("PEER").map(PathBuf::from),
        })
    }

    pub(crate) fn has(&self, row: &str) -> bool {
        self.rows.iter().any(|it| it == row)
    }
}

struct Given(Vec<(String, String)>);

impl Given {
    /// An empty value counts as not given.
    fn text(&self, name: &str) -> Option<&str> {
        let given = self.0.iter().find(|(it, value)| it == name && !value.is_empty());
        given.map(|(_, value)| value.as_str())
    }

    fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().ok().with_context(|| format!("{name} must be a number, not {text}"))
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',']).filter(|word| !word.is_empty())
}
