use time::OffsetDateTime;

/// Now, in UTC and whole microseconds. Postgres stores no more, and an event must carry the same
/// time as the tables.
pub(crate) fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(now.microsecond() * 1_000).unwrap_or(now)
}
