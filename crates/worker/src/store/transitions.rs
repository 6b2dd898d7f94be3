//! The append-only table `order_transitions`.

use orders::{OrderKey, StateName, Transition};
use service::metrics::names;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use super::keys::key_columns;
use super::outbox::{Outgoing, WRITER_SECONDS};

/// A transition with its event.
pub(super) struct NewTransition {
    pub(super) key: OrderKey,
    pub(super) transition: Transition,
    pub(super) outgoing: Outgoing,
}

/// Counts a transition that is committed. A new order comes from `none`.
pub(super) fn count(from: Option<StateName>, to: StateName) {
    let from = from.map_or("none", StateName::as_str);
    metrics::counter!(names::TRANSITIONS, "from" => from, "to" => to.as_str()).increment(1);
}

/// Inserts transitions, and their events into the outbox. For [`WRITER_SECONDS`] the sweep leaves
/// the events to the worker that wrote them.
pub(super) async fn insert(
    connection: &mut PgConnection,
    new: &[NewTransition],
) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    let (mch_ids, numbers) = key_columns(new.iter().map(|it| &it.key));
    let transitions = || new.iter().map(|it| &it.transition);
    let seqs: Vec<i32> = transitions().map(|it| it.seq).collect();
    let from: Vec<Option<String>> =
        transitions().map(|it| it.from.map(|state| state.as_str().to_owned())).collect();
    let to: Vec<String> = transitions().map(|it| it.to.as_str().to_owned()).collect();
    let facts: Vec<serde_json::Value> = transitions().map(|it| it.fact_json.clone()).collect();
    let sources: Vec<String> = transitions().map(|it| it.source.as_str().to_owned()).collect();
    let at: Vec<OffsetDateTime> = transitions().map(|it| it.at).collect();
    let event_ids: Vec<Uuid> = new.iter().map(|it| it.outgoing.event.id).collect();
    let bodies: Vec<String> = new.iter().map(|it| it.outgoing.event.body.clone()).collect();
    let types: Vec<String> = new.iter().map(|it| it.outgoing.event.kind.to_owned()).collect();
    let traces: Vec<Option<String>> =
        new.iter().map(|it| it.outgoing.traceparent.clone()).collect();
    sqlx::query!(
        "/* insert_transitions */
        with new as (
            select * from unnest($1::text[], $2::text[], $3::int4[], $4::text[], $5::text[],
                $6::jsonb[], $7::text[], $8::timestamptz[], $9::uuid[], $10::text[],
                $11::text[], $12::text[])
                as new (mch_id, out_trade_no, seq, from_state, to_state, fact, source, at,
                    event_id, event_body, type, traceparent)
        ), transitions as (
            insert into order_transitions (mch_id, out_trade_no, seq, from_state, to_state, fact,
                source, at, event_id, event_body)
            select mch_id, out_trade_no, seq, from_state, to_state, fact, source, at, event_id,
                event_body
            from new
        )
        insert into outbox (event_id, cause, type, mch_id, out_trade_no, seq, traceparent,
            next_attempt_at)
        select event_id, 'transition', type, mch_id, out_trade_no, seq, traceparent,
            now() + make_interval(secs => $13)
        from new",
        &mch_ids,
        &numbers,
        &seqs,
        &from as _,
        &to,
        &facts,
        &sources,
        &at,
        &event_ids,
        &bodies,
        &types,
        &traces as _,
        WRITER_SECONDS,
    )
    .execute(connection)
    .await?;
    Ok(())
}
