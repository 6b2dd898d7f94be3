//! Our clock beside another's.

use time::{Duration, OffsetDateTime};

use super::report::{Check, CheckStatus};

/// A clock that is kept is off by milliseconds. `Date` has whole seconds and takes its time on the
/// road; beyond this nobody keeps the clock.
const WARN_ABOVE: Duration = Duration::seconds(5);
/// WeChat refuses an order with less than 5 minutes to its `time_expire`, and we refuse one with
/// less than 6 (reference 4.3): a clock that is a minute slow has used up what lies between.
const BAD_ABOVE: Duration = Duration::seconds(60);

/// How our clock differs from `theirs`, that of `whose`.
pub(super) fn judged(
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
    let remedy = "set the clock of this machine and have it kept (`timedatectl set-ntp true`)";
    Check::new(name, CheckStatus::of(skew.abs(), WARN_ABOVE, BAD_ABOVE), finding, remedy)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off_either_way() {
        let at = datetime!(2026-11-20 07:00:00 UTC);
        let of = |seconds: i64| {
            let check = judged("clock".to_owned(), at + Duration::seconds(seconds), at, "theirs");
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
