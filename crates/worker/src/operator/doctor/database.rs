//! Postgres: the connection, the schema, and the state of the tables.

use std::time::Instant;

use futures_util::join;
use orders::{ExceptionKind, StateName};
use time::OffsetDateTime;

use super::clock;
use super::report::{Check, CheckStatus};
use super::timeout::with_timeout;
use crate::config::DatabaseUrl;
use crate::migrations::{MigrationStatus, migration_status};
use crate::operator::output::{counted, plain};
use crate::store::{Depth, Gauges, OpenOrders, Rates, Store, StoreError};

const CONNECTION: &str = "database.connection";
const MIGRATIONS: &str = "database.migrations";
const CLOCK: &str = "database.clock";
const OUTBOX: &str = "outbox";
const EXCEPTIONS: &str = "exceptions";
const WORKERS: &str = "workers";
/// The states in which an order waits for an outcome.
const OPEN_STATES: [StateName; 3] = [StateName::Created, StateName::Payable, StateName::Closing];

/// The sweep takes over the events of a dead worker after ten seconds.
const OUTBOX_WARN_ABOVE_S: f64 = 10.0;
/// Several sweeps have passed: no worker runs, or the broker accepts nothing.
const OUTBOX_BAD_ABOVE_S: f64 = 60.0;
/// Three of the longest pauses between two checks of an order.
const LATE_WARN_ABOVE_S: f64 = 15.0 * 60.0;
/// Twice the half hour after which an order whose calls have no outcome becomes an exception.
const LATE_BAD_ABOVE_S: f64 = 60.0 * 60.0;

pub(super) async fn checks(url: DatabaseUrl, store: Store) -> Vec<Check> {
    let address = url.display_address();
    let begun = Instant::now();
    let problem = match with_timeout(async move { migration_status(&url).await }).await {
        Ok(Ok(status)) => {
            let took = begun.elapsed().as_millis();
            let finding = format!("{address} answered in {took} ms");
            let mut checks = vec![Check::ok(CONNECTION, finding), migrations(status)];
            checks.extend(match status.missing {
                0 => table_checks(store).await,
                _ => skipped("the schema is not current"),
            });
            return checks;
        }
        Ok(Err(error)) => plain(&error.to_string()),
        Err(problem) => problem,
    };
    let finding = format!("{address} cannot be used: {problem}");
    let remedy = "start Postgres, or correct WXPAY_DATABASE_URL (host, user, password, database)";
    let why = "the database cannot be reached";
    let mut checks = vec![Check::bad(CONNECTION, finding, remedy), Check::skipped(MIGRATIONS, why)];
    checks.extend(skipped(why));
    checks
}

/// The checks that need the tables.
fn skipped(why: &str) -> Vec<Check> {
    let names = [CLOCK, OUTBOX].into_iter().map(str::to_owned);
    let names =
        names.chain(OPEN_STATES.map(state_name)).chain([EXCEPTIONS, WORKERS].map(str::to_owned));
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

async fn table_checks(store: Store) -> Vec<Check> {
    let (clock, outbox, open_orders, gauges, rates) = join!(
        read(&store, |store| async move {
            let theirs = store.clock().await?;
            Ok((OffsetDateTime::now_utc(), theirs))
        }),
        read(&store, |store| async move { store.outbox_depth().await }),
        read(&store, |store| async move { store.open_orders().await }),
        read(&store, |store| async move { store.gauges().await }),
        read(&store, |store| async move { store.worker_rates().await }),
    );
    let compare = |(ours, theirs)| clock::compare(CLOCK.to_owned(), ours, theirs, "the database's");
    let mut checks =
        vec![check_read(CLOCK, clock, compare), check_read(OUTBOX, outbox, self::outbox)];
    match open_orders {
        Ok(found) => checks.extend(OPEN_STATES.map(|state| overdue(state, &found))),
        Err(problem) => {
            checks.extend(OPEN_STATES.map(|state| unreadable(&state_name(state), &problem)));
        }
    }
    checks.push(check_read(EXCEPTIONS, gauges, |gauges| exceptions(&gauges)));
    checks.push(check_read(WORKERS, rates, |rates| workers(&rates)));
    checks
}

/// Reads from the store with the timeout of a request.
async fn read<T, F>(store: &Store, read: impl FnOnce(Store) -> F) -> Result<T, String>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    with_timeout(read(store.clone())).await?.map_err(|error| error.to_string())
}

fn check_read<T>(name: &str, read: Result<T, String>, check: impl FnOnce(T) -> Check) -> Check {
    match read {
        Ok(read) => check(read),
        Err(problem) => unreadable(name, &problem),
    }
}

/// The database answered before, but not this time.
fn unreadable(name: &str, problem: &str) -> Check {
    let remedy = "read Postgres's log: the database user must be able to read every table";
    Check::bad(name, format!("it cannot be read: {}", plain(problem)), remedy)
}

fn outbox(depth: Depth) -> Check {
    if depth.pending == 0 {
        return Check::ok(OUTBOX, "no event waits for the broker");
    }
    let pending = depth.pending;
    let age = span(depth.oldest_seconds);
    let finding = format!("events that wait for the broker: {pending}, the oldest for {age}");
    let status = CheckStatus::of(depth.oldest_seconds, OUTBOX_WARN_ABOVE_S, OUTBOX_BAD_ABOVE_S);
    let remedy = "make sure that a worker runs and reaches the broker: it publishes them by itself";
    Check::new(OUTBOX, status, finding, remedy)
}

fn state_name(state: StateName) -> String {
    format!("orders.{state}")
}

fn overdue(state: StateName, found: &[OpenOrders]) -> Check {
    let name = state_name(state);
    let Some(oldest) = found.iter().find(|open| open.state == state.as_str()) else {
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
        "make sure that a worker runs, then `wxpay-worker order explain {mch_id} {out_trade_no}`"
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
    let remedy = "`wxpay-worker exceptions list`; settle each, then `exceptions resolve`";
    Check::bad(EXCEPTIONS, format!("open: {}", open.join(", ")), remedy)
}

/// The sum of what the workers may call at most: a rate rises only while calls wait for it.
fn workers(rates: &[Rates]) -> Check {
    if rates.is_empty() {
        return Check::warn(WORKERS, "none reports that it runs", "`wxpay-worker run`");
    }
    let mut sums = Rates::new();
    for (mch_id, rate) in rates.iter().flatten() {
        *sums.entry(mch_id.clone()).or_default() += rate;
    }
    let sums: Vec<_> = sums.iter().map(|(mch_id, rate)| format!("{mch_id} {rate}")).collect();
    let running = counted(rates.len(), "worker");
    let sums = plain(&sums.join(", "));
    Check::ok(WORKERS, format!("{running} running; calls a second at most: {sums}"))
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
    fn schema_behind_is_bad_and_schema_ahead_warns() {
        let status = |missing, unknown| migrations(MigrationStatus { missing, unknown }).status;
        assert_eq!(status(0, 0), CheckStatus::Ok);
        assert_eq!(status(0, 1), CheckStatus::Warn);
        assert_eq!([status(1, 0), status(1, 1)], [CheckStatus::Bad; 2]);
    }

    #[test]
    fn outbox_warns_after_the_sweep_interval() {
        let status = |oldest_seconds| outbox(Depth { pending: 1, oldest_seconds }).status;
        assert_eq!([0.1, 10.0].map(status), [CheckStatus::Ok; 2]);
        assert_eq!([10.1, 60.0].map(status), [CheckStatus::Warn; 2]);
        assert_eq!(status(60.1), CheckStatus::Bad);
    }

    #[test]
    fn open_order_is_overdue_by_its_state() {
        let checked = |state: StateName, overdue_seconds| {
            let found = [OpenOrders {
                state: state.as_str().to_owned(),
                count: 3,
                mch_id: "1900000109".to_owned(),
                out_trade_no: "SO1".to_owned(),
                age_seconds: 7_200.0,
                overdue_seconds,
            }];
            overdue(state, &found)
        };
        let check = checked(StateName::Payable, -600.0);
        assert_eq!(check.status, CheckStatus::Ok);
        assert_eq!(check.finding, "3 in all; 1900000109/SO1 is 2 h old, expires in 10 min");
        let check = checked(StateName::Payable, 901.0);
        assert_eq!(check.status, CheckStatus::Warn);
        assert!(check.remedy.unwrap().contains("`wxpay-worker order explain 1900000109 SO1`"));
        let check = checked(StateName::Created, 3_601.0);
        assert_eq!(check.status, CheckStatus::Bad);
        assert!(check.finding.ends_with("created for 60 min"), "{}", check.finding);
        assert_eq!(overdue(StateName::Closing, &[]).status, CheckStatus::Ok);
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
