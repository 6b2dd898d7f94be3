use serde_json::json;
use time::OffsetDateTime;
use wechatpay_v2::unifiedorder::UnifiedOrder;
use wechatpay_v2::{BeijingTime, Fields, Payment, SignType};

use crate::{Difference, FactKind, OrderKey, OrderRequest, Source, State, StateName, Transition};

/// One payment attempt of a shop: what it asked for, and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub request: OrderRequest,
    /// When the payer can no longer begin to pay, in UTC and whole seconds.
    pub time_expire: OffsetDateTime,
    /// The signature algorithm of every message about this order.
    pub sign_type: SignType,
    pub state: State,
    /// The number of the last transition.
    pub seq: i32,
    /// WeChat's last text about an attempt that did not succeed.
    pub gateway_message: Option<String>,
    /// When it was accepted, in UTC.
    pub created_at: OffsetDateTime,
    /// When its state last changed, in UTC.
    pub updated_at: OffsetDateTime,
}

impl Order {
    /// A new order: its state is `created`, its first transition has `seq` 1.
    #[must_use]
    pub fn accept(
        request: OrderRequest,
        time_expire: OffsetDateTime,
        sign_type: SignType,
        at: OffsetDateTime,
    ) -> (Self, Transition) {
        let order = Self {
            request,
            time_expire: BeijingTime::from_instant(time_expire).instant(),
            sign_type,
            state: State::Created,
            seq: 1,
            gateway_message: None,
            created_at: at,
            updated_at: at,
        };
        let transition = Transition {
            seq: 1,
            from: None,
            to: StateName::Created,
            fact: FactKind::Accepted,
            fact_json: json!({ "kind": FactKind::Accepted }),
            source: Source::Shop,
            at,
        };
        (order, transition)
    }

    #[must_use]
    pub fn key(&self) -> OrderKey {
        self.request.key()
    }

    /// The parameters of the first unifiedorder. WeChat refuses a repetition that differs.
    #[must_use]
    pub fn parameters(&self, notify_url: &str) -> Fields {
        let request = self.request.clone();
        let call = UnifiedOrder {
            appid: request.appid,
            out_trade_no: request.out_trade_no,
            trade_type: request.trade_type,
            body: request.body,
            total_fee: request.total_fee,
            spbill_create_ip: request.spbill_create_ip,
            notify_url: notify_url.to_owned(),
            time_start: None,
            time_expire: Some(BeijingTime::from_instant(self.time_expire)),
            openid: request.openid,
            product_id: request.product_id,
            scene_info: request.scene_info,
            attach: request.attach,
            detail: request.detail,
            goods_tag: request.goods_tag,
            limit_pay: request.limit_pay,
            device_info: request.device_info,
            receipt: request.receipt,
            sub_mch_id: request.sub_mch_id,
            sub_appid: request.sub_appid,
            sub_openid: request.sub_openid,
        };
        call.parameters()
    }

    /// The fields in which a repeated create differs from this order. `spbill_create_ip` does not
    /// count, and `time_expire` counts only if the repeat gives one.
    #[must_use]
    pub fn conflicts_with(&self, repeat: &OrderRequest) -> Vec<&'static str> {
        let mut names = self.request.different_fields(repeat);
        if repeat.time_expire.is_some_and(|at| at != self.time_expire) {
            names.push("time_expire");
        }
        names
    }

    /// The fields in which a payment differs from the order. The amount that counts is `total_fee`,
    /// never `cash_fee`.
    pub(crate) fn differences(&self, payment: &Payment, sign_type: SignType) -> Differences {
        let request = &self.request;
        let mut found = Differences::default();
        let mut identity = |field: &str, ours: &str, theirs: &str| {
            if ours != theirs {
                found.identity.push(Difference::new(field, ours, theirs));
            }
        };
        identity("mch_id", request.mch_id.as_str(), payment.mch_id.as_str());
        identity("appid", request.appid.as_str(), payment.appid.as_str());
        identity("out_trade_no", request.out_trade_no.as_str(), payment.out_trade_no.as_str());
        identity("sign_type", self.sign_type.as_str(), sign_type.as_str());
        if let Some(ours) = &request.sub_mch_id {
            let theirs = payment.sub_mch_id.as_ref().map_or("", |id| id.as_str());
            identity("sub_mch_id", ours.as_str(), theirs);
        }
        if let Some(ours) = &request.sub_appid {
            let theirs = payment.sub_appid.as_ref().map_or("", |id| id.as_str());
            identity("sub_appid", ours.as_str(), theirs);
        }
        if payment.total_fee != request.total_fee {
            found.amount.push(Difference::new("total_fee", request.total_fee, payment.total_fee));
        }
        if payment.fee_type != "CNY" {
            found.amount.push(Difference::new("fee_type", "CNY", &payment.fee_type));
        }
        found
    }
}

#[derive(Default)]
pub(crate) struct Differences {
    pub(crate) identity: Vec<Difference>,
    pub(crate) amount: Vec<Difference>,
}
