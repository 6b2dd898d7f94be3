//! The worker's clock.

use time::OffsetDateTime;

/// Now, in UTC and whole microseconds: Postgres keeps no more, and what an event says must be what
/// the tables say.
pub(crate) fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(now.microsecond() * 1_000).unwrap_or(now)
}
