//! Postgres: whether it answers, the schema, and the books that are open in it.

use std::time::Instant;

use futures_util::join;
use orders::{ExceptionKind, StateName};
use time::OffsetDateTime;
use worker::store::{Depth, Gauges, OpenOrders, Store, StoreError};
use worker::{DatabaseUrl, MigrationStatus, migration_status};

use super::keys::counted;
use super::report::{Check, CheckStatus};
use super::{clock, within};
use crate::operator::output::plain;

const CONNECTION: &str = "database.connection";
const MIGRATIONS: &str = "database.migrations";
const CLOCK: &str = "database.clock";
const OUTBOX: &str = "outbox";
const EXCEPTIONS: &str = "exceptions";
/// Orders in other states are settled.
const OPEN_STATES: [StateName; 3] = [StateName::Created, StateName::Payable, StateName::Closing];

/// Whoever dies with events leaves them to the next sweep after ten seconds.
const OUTBOX_WARN_ABOVE_S: f64 = 10.0;
/// Several sweeps went by: no worker runs, or the broker takes nothing.
const OUTBOX_BAD_ABOVE_S: f64 = 60.0;
/// Three of the longest pauses between two looks at an order of which nothing is known, and as many
/// as between two looks at an old one.
const LATE_WARN_ABOVE_S: f64 = 15.0 * 60.0;
/// Twice the half hour after which an order whose calls have no outcome is an exception.
const LATE_BAD_ABOVE_S: f64 = 60.0 * 60.0;

pub(super) async fn checks(url: DatabaseUrl, store: Store) -> Vec<Check> {
    let (asked, begun) = (url.clone(), Instant::now());
    let status = within(async move { migration_status(&asked).await }).await;
    let problem = match status {
        Ok(Ok(status)) => {
            let took = begun.elapsed().as_millis();
            let finding = format!("{} answered in {took} ms", url.display_address());
            let mut checks = vec![Check::ok(CONNECTION, finding), migrations(status)];
            checks.extend(match status.missing {
                0 => books(store).await,
                _ => rest("the schema is not current"),
            });
            return checks;
        }
        Ok(Err(error)) => plain(&error.to_string()),
        Err(problem) => problem,
    };
    let finding = format!("{} cannot be used: {problem}", url.display_address());
    let remedy = "start Postgres, or set WXPAY_DATABASE_URL right (host, user, password, database)";
    let why = "the database is not reached";
    let mut checks = vec![Check::bad(CONNECTION, finding, remedy), Check::skipped(MIGRATIONS, why)];
    checks.extend(rest(why));
    checks
}

/// What cannot be judged without the tables.
fn rest(why: &str) -> Vec<Check> {
    let names = [CLOCK, OUTBOX].into_iter().map(str::to_owned);
    let names = names.chain(OPEN_STATES.map(state_name)).chain([EXCEPTIONS.to_owned()]);
    names.map(|name| Check::skipped(name, why)).collect()
}

fn migrations(MigrationStatus { missing, unknown }: MigrationStatus) -> Check {
    match (missing, unknown) {
        (0, 0) => Check::ok(MIGRATIONS, "every migration is applied"),
        (0, unknown) => {
            let ahead = counted(unknown, "migration");
            let finding = format!("the database is {ahead} ahead of this program");
            Check::warn(MIGRATIONS, finding, "install the newer version here, too")
        }
        (missing, _) => {
            let finding = format!("{} of this version not applied", counted(missing, "migration"));
            Check::bad(MIGRATIONS, finding, "`wxpay-worker migrate`")
        }
    }
}

async fn books(store: Store) -> Vec<Check> {
    let (one, two, three, four) = (store.clone(), store.clone(), store.clone(), store);
    let (clock, outbox, unsettled, gauges) = join!(
        within(async move { one.clock().await.map(|theirs| (OffsetDateTime::now_utc(), theirs)) }),
        within(async move { two.outbox_depth().await }),
        within(async move { three.open_orders().await }),
        within(async move { four.gauges().await }),
    );
    let mut checks = vec![
        judged(CLOCK, clock, |(ours, theirs)| {
            clock::judged(CLOCK.to_owned(), ours, theirs, "the database's")
        }),
        judged(OUTBOX, outbox, self::outbox),
    ];
    match read(unsettled) {
        Ok(found) => checks.extend(OPEN_STATES.map(|state| late(state, &found))),
        Err(problem) => {
            checks.extend(OPEN_STATES.map(|state| unread(&state_name(state), &problem)));
        }
    }
    checks.push(judged(EXCEPTIONS, gauges, |gauges| exceptions(&gauges)));
    checks
}

fn read<T>(answer: Result<Result<T, StoreError>, String>) -> Result<T, String> {
    answer.and_then(|read| read.map_err(|error| error.to_string()))
}

fn judged<T>(
    name: &str,
    answer: Result<Result<T, StoreError>, String>,
    judge: impl FnOnce(T) -> Check,
) -> Check {
    match read(answer) {
        Ok(answer) => judge(answer),
        Err(problem) => unread(name, &problem),
    }
}

/// The database answered before, and not to this.
fn unread(name: &str, problem: &str) -> Check {
    let remedy = "look into Postgres's log: its user needs to read every table";
    Check::bad(name, format!("it cannot be read: {}", plain(problem)), remedy)
}

fn outbox(depth: Depth) -> Check {
    if depth.pending == 0 {
        return Check::ok(OUTBOX, "no event waits for the broker");
    }
    let (pending, age) = (depth.pending, span(depth.oldest_seconds));
    let finding = format!("events that wait for the broker: {pending}, the oldest for {age}");
    let status = CheckStatus::of(depth.oldest_seconds, OUTBOX_WARN_ABOVE_S, OUTBOX_BAD_ABOVE_S);
    let remedy = "see that a worker runs and reaches the broker: it sends them by itself";
    Check::new(OUTBOX, status, finding, remedy)
}

fn state_name(state: StateName) -> String {
    format!("orders.{state}")
}

fn late(state: StateName, found: &[OpenOrders]) -> Check {
    let name = state_name(state);
    let Some(oldest) = found.iter().find(|unsettled| unsettled.state == state.as_str()) else {
        return Check::ok(name, "there is none");
    };
    let OpenOrders { count, mch_id, out_trade_no, age_seconds, overdue_seconds, .. } = oldest;
    let end = match (state, *overdue_seconds) {
        (StateName::Payable, late) if late < 0.0 => format!("expires in {}", span(-late)),
        (StateName::Payable, late) => format!("expired {} ago", span(late)),
        (_, late) => format!("{state} for {}", span(late)),
    };
    let age = span(*age_seconds);
    let finding = format!(
        "{count} in all; {} is {age} old, {end}",
        plain(&format!("{mch_id}/{out_trade_no}"))
    );
    let status = CheckStatus::of(*overdue_seconds, LATE_WARN_ABOVE_S, LATE_BAD_ABOVE_S);
    let remedy = format!(
        "see that a worker runs, then `wxpay-worker order explain {mch_id} {out_trade_no}`"
    );
    Check::new(name, status, finding, remedy)
}

fn exceptions(gauges: &Gauges) -> Check {
    let count = |kind: &str| {
        let open = gauges.exceptions.iter().find(|(name, _)| name == kind);
        open.map(|(name, count)| format!("{name} {count}"))
    };
    let open: Vec<_> = ExceptionKind::ALL.iter().filter_map(|kind| count(kind.as_str())).collect();
    if open.is_empty() {
        return Check::ok(EXCEPTIONS, "none is open");
    }
    let remedy = "`wxpay-worker exceptions list`; mend each, then `exceptions resolve`";
    Check::bad(EXCEPTIONS, format!("open: {}", open.join(", ")), remedy)
}

/// In the largest unit that is full at least twice, or seconds.
fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let spans = [-1.0, 119.9, 120.0, 7_199.0, 7_200.0, 172_799.0, 172_800.0].map(span);
        assert_eq!(spans, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]);
    }

    #[test]
    fn a_schema_that_is_behind_is_bad_and_one_ahead_is_told() {
        let status = |missing, unknown| migrations(MigrationStatus { missing, unknown }).status;
        assert_eq!(status(0, 0), CheckStatus::Ok);
        assert_eq!(status(0, 1), CheckStatus::Warn);
        assert_eq!([status(1, 0), status(1, 1)], [CheckStatus::Bad; 2]);
    }

    #[test]
    fn events_may_wait_as_long_as_a_sweep_takes() {
        let status = |oldest_seconds| outbox(Depth { pending: 1, oldest_seconds }).status;
        assert_eq!([0.1, 10.0].map(status), [CheckStatus::Ok; 2]);
        assert_eq!([10.1, 60.0].map(status), [CheckStatus::Warn; 2]);
        assert_eq!(status(60.1), CheckStatus::Bad);
    }

    #[test]
    fn an_order_is_late_by_what_it_should_have_left_its_state() {
        let judged = |state: StateName, overdue_seconds| {
            let found = [OpenOrders {
                state: state.as_str().to_owned(),
                count: 3,
                mch_id: "1900000109".to_owned(),
                out_trade_no: "SO1".to_owned(),
                age_seconds: 7_200.0,
                overdue_seconds,
            }];
            late(state, &found)
        };
        let check = judged(StateName::Payable, -600.0);
        assert_eq!(check.status, CheckStatus::Ok);
        assert_eq!(check.finding, "3 in all; 1900000109/SO1 is 2 h old, expires in 10 min");
        let check = judged(StateName::Payable, 901.0);
        assert_eq!(check.status, CheckStatus::Warn);
        assert!(check.remedy.unwrap().contains("`wxpay-worker order explain 1900000109 SO1`"));
        let check = judged(StateName::Created, 3_601.0);
        assert_eq!(check.status, CheckStatus::Bad);
        assert!(check.finding.ends_with("created for 60 min"), "{}", check.finding);
        assert_eq!(late(StateName::Closing, &[]).status, CheckStatus::Ok);
    }

    #[test]
    fn open_exceptions_are_counted_by_kind() {
        let open = |exceptions: &[(&str, i64)]| {
            let exceptions = exceptions.iter().map(|(kind, count)| ((*kind).to_owned(), *count));
            let gauges = Gauges { exceptions: exceptions.collect(), ..Gauges::default() };
            super::exceptions(&gauges)
        };
        assert_eq!(open(&[]).status, CheckStatus::Ok);
        let check = open(&[("late_payment", 1), ("amount_mismatch", 2)]);
        assert_eq!(check.status, CheckStatus::Bad);
        assert_eq!(check.finding, "open: amount_mismatch 2, late_payment 1");
    }
}
