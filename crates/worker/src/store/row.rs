//! The row of an order, read back into types that cannot be wrong.

use orders::{Failure, Order, OrderKey, State};
use sqlx::types::Json;
use sqlx::{PgConnection, types::Uuid};
use time::OffsetDateTime;
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{Fields, Payment, PrepayId, SignType};

use super::StoreError;

/// An order as it is stored, with what is not the order's own.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The order.
    pub order: Order,
    /// The parameters of the first unifiedorder.
    pub parameters: Fields,
    /// Who took the call lease last, until it was given back.
    pub call_lease_holder: Option<Uuid>,
}

pub(super) struct Row {
    pub(super) sign_type: String,
    pub(super) request: Json<orders::OrderRequest>,
    pub(super) time_expire: OffsetDateTime,
    pub(super) parameters: Json<Fields>,
    pub(super) state: String,
    pub(super) seq: i32,
    pub(super) prepay_id: Option<String>,
    pub(super) code_url: Option<String>,
    pub(super) mweb_url: Option<String>,
    pub(super) prepay_issued_at: Option<OffsetDateTime>,
    pub(super) payment: Option<Json<Payment>>,
    pub(super) closing_since: Option<OffsetDateTime>,
    pub(super) closed_at: Option<OffsetDateTime>,
    pub(super) err_code: Option<String>,
    pub(super) err_code_des: Option<String>,
    pub(super) gateway_message: Option<String>,
    pub(super) call_lease_holder: Option<Uuid>,
    pub(super) created_at: OffsetDateTime,
    pub(super) updated_at: OffsetDateTime,
}

impl Row {
    pub(super) fn read(self) -> Result<Stored, StoreError> {
        let fault = |what: &str| StoreError::Fault(format!("an order's row: {what}"));
        let needs = |what: &'static str| fault(what);
        let state = match self.state.as_str() {
            "created" => State::Created,
            "payable" => State::Payable {
                prepay: Prepay {
                    prepay_id: PrepayId::parse(self.prepay_id.unwrap_or_default())
                        .map_err(|_| needs("prepay_id"))?,
                    code_url: self.code_url,
                    mweb_url: self.mweb_url,
                },
                issued_at: self.prepay_issued_at.ok_or_else(|| needs("prepay_issued_at"))?,
            },
            "paid" => State::Paid(Box::new(self.payment.ok_or_else(|| needs("payment"))?.0)),
            "closing" => {
                State::Closing { since: self.closing_since.ok_or_else(|| needs("closing_since"))? }
            }
            "closed" => State::Closed { at: self.closed_at.ok_or_else(|| needs("closed_at"))? },
            "failed" => State::Failed(Failure {
                err_code: self.err_code.ok_or_else(|| needs("err_code"))?,
                err_code_des: self.err_code_des.unwrap_or_default(),
            }),
            _ => return Err(fault("state")),
        };
        let order = Order {
            request: self.request.0,
            time_expire: self.time_expire,
            sign_type: SignType::parse(&self.sign_type).map_err(|_| needs("sign_type"))?,
            state,
            seq: self.seq,
            gateway_message: self.gateway_message,
            created_at: self.created_at,
            updated_at: self.updated_at,
        };
        Ok(Stored {
            order,
            parameters: self.parameters.0,
            call_lease_holder: self.call_lease_holder,
        })
    }
}

/// Reads one order without locking it.
pub(super) async fn find(
    connection: &mut PgConnection,
    key: &OrderKey,
) -> Result<Option<Stored>, StoreError> {
    let row = sqlx::query_as!(
        Row,
        r#"/* find_order */
        select sign_type, request as "request: _", time_expire, parameters as "parameters: _",
            state, seq, prepay_id, code_url, mweb_url, prepay_issued_at, payment as "payment: _",
            closing_since, closed_at, err_code, err_code_des, gateway_message, call_lease_holder,
            created_at, updated_at
        from orders where mch_id = $1 and out_trade_no = $2"#,
        key.mch_id.as_str(),
        key.out_trade_no.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(Row::read).transpose()
}

/// Locks the orders of a batch in the order of their keys, which is the same in every worker, so
/// that two batches never wait for each other in a circle.
pub(super) async fn lock(
    connection: &mut PgConnection,
    keys: &[OrderKey],
) -> Result<Vec<Stored>, StoreError> {
    let (mch_ids, numbers) = columns(keys);
    let rows = sqlx::query_as!(
        Row,
        r#"/* lock_orders */
        select sign_type, request as "request: _", time_expire, parameters as "parameters: _",
            state, seq, prepay_id, code_url, mweb_url, prepay_issued_at, payment as "payment: _",
            closing_since, closed_at, err_code, err_code_des, gateway_message, call_lease_holder,
            created_at, updated_at
        from orders
        where (mch_id, out_trade_no) in (select * from unnest($1::text[], $2::text[]))
        order by mch_id, out_trade_no
        for update"#,
        &mch_ids,
        &numbers,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

/// The keys as the two arrays that `unnest` takes.
pub(super) fn columns<'a>(
    keys: impl IntoIterator<Item = &'a OrderKey>,
) -> (Vec<String>, Vec<String>) {
    keys.into_iter().map(|key| (key.mch_id.to_string(), key.out_trade_no.to_string())).unzip()
}
