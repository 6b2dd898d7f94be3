use orders::{Order, Transition};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;
use wechatpay_v2::Fields;

#[derive(Clone, Debug)]
pub(crate) struct Acceptance {
    /// The order, in state `created`.
    pub(crate) order: Order,
    pub(crate) transition: Transition,
    /// The parameters of the call that follows, which every repetition sends byte for byte.
    pub(crate) parameters: Fields,
    /// Who makes the call. `None`: the worker that claims the order later.
    pub(crate) lease_holder: Option<Uuid>,
    /// The id of the event `order.created`.
    pub(crate) event_id: Uuid,
    /// The trace of the command.
    pub(crate) traceparent: Option<String>,
}

/// New orders as the arrays that `unnest` takes.
#[derive(Default)]
pub(super) struct OrderInserts {
    pub(super) mch_id: Vec<String>,
    pub(super) out_trade_no: Vec<String>,
    pub(super) appid: Vec<String>,
    pub(super) trade_type: Vec<String>,
    /// Each amount in fen.
    pub(super) total_fee: Vec<i64>,
    pub(super) sign_type: Vec<String>,
    pub(super) request: Vec<Value>,
    pub(super) time_expire: Vec<OffsetDateTime>,
    pub(super) parameters: Vec<Value>,
    pub(super) seq: Vec<i32>,
    pub(super) gateway_message: Vec<Option<String>>,
    pub(super) created_at: Vec<OffsetDateTime>,
    pub(super) holder: Vec<Option<Uuid>>,
}

impl OrderInserts {
    pub(super) fn of(new: &[Acceptance]) -> Self {
        let mut columns = Self::default();
        for acceptance in new {
            columns.push(acceptance);
        }
        columns
    }

    fn push(&mut self, new: &Acceptance) {
        let order = &new.order;
        let request = &order.request;
        self.mch_id.push(request.mch_id.to_string());
        self.out_trade_no.push(request.out_trade_no.to_string());
        self.appid.push(request.appid.to_string());
        self.trade_type.push(request.trade_type.as_str().to_owned());
        self.total_fee.push(request.total_fee.get());
        self.sign_type.push(order.sign_type.as_str().to_owned());
        self.request.push(json!(request));
        self.time_expire.push(order.time_expire);
        self.parameters.push(json!(new.parameters));
        self.seq.push(order.seq);
        self.gateway_message.push(order.gateway_message.clone());
        self.created_at.push(order.created_at);
        self.holder.push(new.lease_holder);
    }
}
