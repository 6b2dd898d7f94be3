use orders::{Failure, Order, State};
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{Fields, Payment, PrepayId, SignType};

use crate::store::StoreError;

/// An order with the columns that are not part of it.
#[derive(Clone, Debug)]
pub(crate) struct StoredOrder {
    pub(crate) order: Order,
    /// The parameters of the first unifiedorder.
    pub(crate) parameters: Fields,
    /// Who took the call lease last. `None` once it is released.
    pub(crate) call_lease_holder: Option<Uuid>,
}

pub(in crate::store) struct Row {
    pub(in crate::store) sign_type: String,
    pub(in crate::store) request: Json<orders::OrderRequest>,
    pub(in crate::store) time_expire: OffsetDateTime,
    pub(in crate::store) parameters: Json<Fields>,
    pub(in crate::store) state: String,
    pub(in crate::store) seq: i32,
    pub(in crate::store) prepay_id: Option<String>,
    pub(in crate::store) code_url: Option<String>,
    pub(in crate::store) mweb_url: Option<String>,
    pub(in crate::store) prepay_issued_at: Option<OffsetDateTime>,
    pub(in crate::store) payment: Option<Json<Payment>>,
    pub(in crate::store) closing_since: Option<OffsetDateTime>,
    pub(in crate::store) closed_at: Option<OffsetDateTime>,
    pub(in crate::store) err_code: Option<String>,
    pub(in crate::store) err_code_des: Option<String>,
    pub(in crate::store) gateway_message: Option<String>,
    pub(in crate::store) call_lease_holder: Option<Uuid>,
    pub(in crate::store) created_at: OffsetDateTime,
    pub(in crate::store) updated_at: OffsetDateTime,
}

impl Row {
    pub(in crate::store) fn read(self) -> Result<StoredOrder, StoreError> {
        let fault = |column: &str| StoreError::Fault(format!("an order's row: {column}"));
        let state = match self.state.as_str() {
            "created" => State::Created,
            "payable" => State::Payable {
                prepay: Prepay {
                    prepay_id: PrepayId::parse(self.prepay_id.unwrap_or_default())
                        .map_err(|_| fault("prepay_id"))?,
                    code_url: self.code_url,
                    mweb_url: self.mweb_url,
                },
                issued_at: self.prepay_issued_at.ok_or_else(|| fault("prepay_issued_at"))?,
            },
            "paid" => State::Paid(Box::new(self.payment.ok_or_else(|| fault("payment"))?.0)),
            "closing" => {
                State::Closing { since: self.closing_since.ok_or_else(|| fault("closing_since"))? }
            }
            "closed" => State::Closed { at: self.closed_at.ok_or_else(|| fault("closed_at"))? },
            "failed" => State::Failed(Failure {
                err_code: self.err_code.ok_or_else(|| fault("err_code"))?,
                err_code_des: self.err_code_des.unwrap_or_default(),
            }),
            _ => return Err(fault("state")),
        };
        let order = Order {
            request: self.request.0,
            time_expire: self.time_expire,
            sign_type: SignType::parse(&self.sign_type).map_err(|_| fault("sign_type"))?,
            state,
            seq: self.seq,
            gateway_message: self.gateway_message,
            created_at: self.created_at,
            updated_at: self.updated_at,
        };
        Ok(StoredOrder {
            order,
            parameters: self.parameters.0,
            call_lease_holder: self.call_lease_holder,
        })
    }
}
