//! The clock of this machine, compared with another's.

use time::{Duration, OffsetDateTime};

use super::report::{Check, CheckStatus};

/// A synchronized clock is off by milliseconds. `Date` has whole seconds and arrives late by the
/// time of the answer; a larger difference means that the clock is not synchronized.
const WARN_ABOVE: Duration = Duration::seconds(5);
/// WeChat refuses an order with less than 5 minutes to its `time_expire`, and the worker refuses
/// one with less than 6: a clock that is a minute slow has used up the difference.
const BAD_ABOVE: Duration = Duration::seconds(60);

/// Compares our time with `theirs`. `whose` names the other clock.
pub(super) fn compare(
    name: String,
    ours: OffsetDateTime,
    theirs: OffsetDateTime,
    whose: &str,
) -> Check {
    let skew = ours - theirs;
    let seconds = skew.abs().whole_seconds();
    let finding = match seconds {
        0 => format!("our clock and {whose} agree to the second"),
        _ if skew.is_positive() => format!("our clock is {seconds} s ahead of {whose}"),
        _ => format!("our clock is {seconds} s behind {whose}"),
    };
    let remedy = "synchronize the clock of this machine (`timedatectl set-ntp true`)";
    Check::new(name, CheckStatus::of(skew.abs(), WARN_ABOVE, BAD_ABOVE), finding, remedy)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn clock_status_follows_from_its_skew() {
        let at = datetime!(2026-11-20 07:00:00 UTC);
        let of = |seconds: i64| {
            let check = compare("clock".to_owned(), at + Duration::seconds(seconds), at, "theirs");
            (check.status, check.finding)
        };
        assert_eq!(of(0), (CheckStatus::Ok, "our clock and theirs agree to the second".to_owned()));
        assert_eq!(of(-5), (CheckStatus::Ok, "our clock is 5 s behind theirs".to_owned()));
        assert_eq!(of(6).0, CheckStatus::Warn);
        assert_eq!(of(-60).0, CheckStatus::Warn);
        assert_eq!(of(61), (CheckStatus::Bad, "our clock is 61 s ahead of theirs".to_owned()));
        assert_eq!(of(-3600).0, CheckStatus::Bad);
    }
}
