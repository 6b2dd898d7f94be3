use orders::{Order, State};
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::StoreError;

type Times = Vec<Option<OffsetDateTime>>;
type Texts = Vec<Option<String>>;

/// A change of a locked order.
pub(in crate::store) struct OrderChange<'a> {
    pub(in crate::store) before: &'a Order,
    pub(in crate::store) after: &'a Order,
    /// The holder whose call lease ends with this change.
    pub(in crate::store) release_lease: Option<Uuid>,
    pub(in crate::store) next_check_at: Option<OffsetDateTime>,
}

/// Changed orders as the arrays that `unnest` takes. The data of a state is in columns of its own;
/// the columns of all other states are null.
#[derive(Default)]
pub(super) struct OrderUpdates {
    mch_id: Vec<String>,
    out_trade_no: Vec<String>,
    before_state: Vec<String>,
    before_seq: Vec<i32>,
    state: Vec<String>,
    seq: Vec<i32>,
    prepay_id: Texts,
    code_url: Texts,
    mweb_url: Texts,
    prepay_issued_at: Times,
    transaction_id: Texts,
    time_end: Times,
    cash_fee: Vec<Option<i64>>,
    payment: Vec<Option<Value>>,
    closing_since: Times,
    closed_at: Times,
    err_code: Texts,
    err_code_des: Texts,
    gateway_message: Texts,
    updated_at: Vec<OffsetDateTime>,
    release: Vec<Option<Uuid>>,
    next_check_at: Times,
}

impl OrderUpdates {
    pub(super) fn of(changes: &[OrderChange<'_>]) -> Self {
        let mut columns = Self::default();
        for change in changes {
            columns.push(change);
        }
        columns
    }

    /// Returns how many rows were still as they were locked, and are updated.
    pub(super) async fn update(&self, connection: &mut PgConnection) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "/* update_orders */
            update orders o set state = u.state, seq = u.seq, prepay_id = u.prepay_id,
                code_url = u.code_url, mweb_url = u.mweb_url, prepay_issued_at = u.prepay_issued_at,
                transaction_id = u.transaction_id, time_end = u.time_end, cash_fee = u.cash_fee,
                payment = u.payment, closing_since = u.closing_since, closed_at = u.closed_at,
                err_code = u.err_code, err_code_des = u.err_code_des,
                gateway_message = u.gateway_message, updated_at = u.updated_at,
                call_lease_holder = case when o.call_lease_holder = u.release then null
                    else o.call_lease_holder end,
                call_lease_until = case when o.call_lease_holder = u.release then null
                    else o.call_lease_until end,
                next_check_at = u.next_check_at,
                unknown_count = case when u.release is null then o.unknown_count else 0 end,
                same_failure_count = case when u.release is null then o.same_failure_count
                    else 0 end
            from unnest($1::text[], $2::text[], $3::text[], $4::int4[], $5::text[], $6::int4[],
                $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::text[],
                $12::timestamptz[], $13::int8[], $14::jsonb[], $15::timestamptz[],
                $16::timestamptz[], $17::text[], $18::text[], $19::text[], $20::timestamptz[],
                $21::uuid[], $22::timestamptz[])
                as u (mch_id, out_trade_no, before_state, before_seq, state, seq, prepay_id,
                    code_url, mweb_url, prepay_issued_at, transaction_id, time_end, cash_fee,
                    payment, closing_since, closed_at, err_code, err_code_des, gateway_message,
                    updated_at, release, next_check_at)
            where o.mch_id = u.mch_id and o.out_trade_no = u.out_trade_no
                and o.state = u.before_state and o.seq = u.before_seq",
            &self.mch_id,
            &self.out_trade_no,
            &self.before_state,
            &self.before_seq,
            &self.state,
            &self.seq,
            &self.prepay_id as _,
            &self.code_url as _,
            &self.mweb_url as _,
            &self.prepay_issued_at as _,
            &self.transaction_id as _,
            &self.time_end as _,
            &self.cash_fee as _,
            &self.payment as _,
            &self.closing_since as _,
            &self.closed_at as _,
            &self.err_code as _,
            &self.err_code_des as _,
            &self.gateway_message as _,
            &self.updated_at,
            &self.release as _,
            &self.next_check_at as _,
        )
        .execute(connection)
        .await?;
        Ok(done.rows_affected())
    }

    fn push(&mut self, change: &OrderChange<'_>) {
        let after = change.after;
        self.mch_id.push(after.request.mch_id.to_string());
        self.out_trade_no.push(after.request.out_trade_no.to_string());
        self.before_state.push(change.before.state.name().as_str().to_owned());
        self.before_seq.push(change.before.seq);
        self.state.push(after.state.name().as_str().to_owned());
        self.seq.push(after.seq);
        self.gateway_message.push(after.gateway_message.clone());
        self.updated_at.push(after.updated_at);
        self.release.push(change.release_lease);
        self.next_check_at.push(change.next_check_at);
        self.push_prepay(after);
        self.push_payment(after);
        self.push_closing(after);
        self.push_failure(after);
    }

    fn push_prepay(&mut self, order: &Order) {
        let (prepay, issued_at) = match &order.state {
            State::Payable { prepay, issued_at } => (Some(prepay), Some(*issued_at)),
            _ => (None, None),
        };
        self.prepay_id.push(prepay.map(|prepay| prepay.prepay_id.to_string()));
        self.code_url.push(prepay.and_then(|prepay| prepay.code_url.clone()));
        self.mweb_url.push(prepay.and_then(|prepay| prepay.mweb_url.clone()));
        self.prepay_issued_at.push(issued_at);
    }

    fn push_payment(&mut self, order: &Order) {
        let payment = match &order.state {
            State::Paid(payment) => Some(payment),
            _ => None,
        };
        self.transaction_id.push(payment.map(|payment| payment.transaction_id.to_string()));
        self.time_end.push(payment.map(|payment| payment.time_end.instant()));
        self.cash_fee.push(payment.and_then(|payment| payment.cash_fee.map(|fen| fen.get())));
        self.payment.push(payment.map(|payment| serde_json::json!(payment)));
    }

    fn push_closing(&mut self, order: &Order) {
        self.closing_since.push(match order.state {
            State::Closing { since } => Some(since),
            _ => None,
        });
        self.closed_at.push(match order.state {
            State::Closed { at } => Some(at),
            _ => None,
        });
    }

    fn push_failure(&mut self, order: &Order) {
        let failure = match &order.state {
            State::Failed(failure) => Some(failure),
            _ => None,
        };
        self.err_code.push(failure.map(|failure| failure.err_code.clone()));
        self.err_code_des.push(failure.map(|failure| failure.err_code_des.clone()));
    }
}
