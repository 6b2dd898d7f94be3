//! The results of checks, and their report.

use std::fmt;

use serde::Serialize;

use crate::operator::output::table;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CheckStatus {
    Ok,
    /// Works, and deserves attention.
    Warn,
    /// Does not work, or money waits for an operator.
    Bad,
    /// Could not be checked.
    Skipped,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) name: String,
    #[serde(rename = "verdict")]
    pub(super) status: CheckStatus,
    /// One sentence, without a full stop.
    pub(super) finding: String,
    /// What to do, for `warn` and `bad` only.
    pub(super) remedy: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    checks: Vec<Check>,
    summary: Summary,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Summary {
    ok: usize,
    warn: usize,
    bad: usize,
    skipped: usize,
}

impl CheckStatus {
    /// The status of a figure by its two bounds. A figure at a bound is still within it.
    pub(super) fn of<T: PartialOrd>(figure: T, warn_above: T, bad_above: T) -> Self {
        if figure > bad_above {
            Self::Bad
        } else if figure > warn_above {
            Self::Warn
        } else {
            Self::Ok
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for CheckStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Check {
    /// Drops the remedy unless the status is `warn` or `bad`.
    pub(super) fn new(
        name: impl Into<String>,
        status: CheckStatus,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let is_needed = matches!(status, CheckStatus::Warn | CheckStatus::Bad);
        let remedy = is_needed.then(|| remedy.into());
        Self { name: name.into(), status, finding: finding.into(), remedy }
    }

    pub(super) fn ok(name: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(name, CheckStatus::Ok, finding, "")
    }

    pub(super) fn warn(
        name: impl Into<String>,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(name, CheckStatus::Warn, finding, remedy)
    }

    pub(super) fn bad(
        name: impl Into<String>,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(name, CheckStatus::Bad, finding, remedy)
    }

    pub(super) fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(name, CheckStatus::Skipped, why, "")
    }
}

impl Report {
    pub(super) fn of(checks: Vec<Check>) -> Self {
        let mut summary = Summary::default();
        for check in &checks {
            *match check.status {
                CheckStatus::Ok => &mut summary.ok,
                CheckStatus::Warn => &mut summary.warn,
                CheckStatus::Bad => &mut summary.bad,
                CheckStatus::Skipped => &mut summary.skipped,
            } += 1;
        }
        Self { checks, summary }
    }

    /// 1 when something is bad, otherwise 0: a warning fails no script.
    pub(super) fn exit_code(&self) -> u8 {
        u8::from(self.summary.bad > 0)
    }
}

/// A line for each check, and one with the totals.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |check: &Check| {
            let remedy = check.remedy.iter().map(|remedy| format!("; {remedy}"));
            let text = format!("{}{}", check.finding, remedy.collect::<String>());
            [check.status.to_string(), check.name.clone(), text]
        };
        let rows: Vec<_> = self.checks.iter().map(row).collect();
        let Summary { ok, warn, bad, skipped } = &self.summary;
        let count = self.checks.len();
        write!(f, "{}", table(["VERDICT", "CHECK", ""], &rows))?;
        writeln!(f, "\n{count} checks: {ok} ok, {warn} warn, {bad} bad, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_at_a_bound_is_still_within_it() {
        let status = |figure| CheckStatus::of(figure, 5, 60);
        assert_eq!([0, 5].map(status), [CheckStatus::Ok; 2]);
        assert_eq!([6, 60].map(status), [CheckStatus::Warn; 2]);
        assert_eq!(status(61), CheckStatus::Bad);
    }

    #[test]
    fn exit_code_is_1_only_with_a_bad_check() {
        let fine = || {
            vec![
                Check::ok("a", "it is"),
                Check::skipped("b", "it is not there"),
                Check::warn("c", "it is slow", "wait"),
            ]
        };
        assert_eq!(Report::of(fine()).exit_code(), 0);
        assert_eq!(Report::of(vec![]).exit_code(), 0);
        let mut checks = fine();
        checks.insert(1, Check::bad("d.longer", "it is gone", "fetch it"));
        let report = Report::of(checks);
        assert_eq!(report.exit_code(), 1);
        assert_eq!(
            report.to_string(),
            "VERDICT  CHECK\n\
             ok       a         it is\n\
             bad      d.longer  it is gone; fetch it\n\
             skipped  b         it is not there\n\
             warn     c         it is slow; wait\n\
             \n\
             4 checks: 1 ok, 1 warn, 1 bad, 1 skipped\n"
        );
    }

    #[test]
    fn json_has_the_same_fields_for_every_check() {
        let checks = vec![Check::ok("a", "it is"), Check::bad("b", "it is gone", "fetch it")];
        let expected = serde_json::json!({
            "checks": [
                {"name": "a", "verdict": "ok", "finding": "it is", "remedy": null},
                {"name": "b", "verdict": "bad", "finding": "it is gone", "remedy": "fetch it"},
            ],
            "summary": {"ok": 1, "warn": 0, "bad": 1, "skipped": 0},
        });
        assert_eq!(serde_json::to_value(Report::of(checks)).unwrap(), expected);
    }
}
