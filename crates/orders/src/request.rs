use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use wechatpay_v2::unifiedorder::TradeType;
use wechatpay_v2::{AppId, Fen, MchId, OpenId, OutTradeNo};

use crate::OrderKey;

/// What a shop asks for, every field within its rule.
///
/// [`OrderRequest::parse`] reads a shop's bytes. `Deserialize` reads back what this system wrote and
/// does not check the rules again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRequest {
    pub mch_id: MchId,
    pub appid: AppId,
    pub out_trade_no: OutTradeNo,
    pub trade_type: TradeType,
    pub body: String,
    /// In fen, at least 1.
    pub total_fee: Fen,
    pub spbill_create_ip: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openid: Option<OpenId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scene_info: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goods_tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_pay: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_info: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// In UTC and whole seconds, when the shop gave one.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_expire: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_mch_id: Option<MchId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_appid: Option<AppId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_openid: Option<OpenId>,
}

impl OrderRequest {
    #[must_use]
    pub fn key(&self) -> OrderKey {
        OrderKey { mch_id: self.mch_id.clone(), out_trade_no: self.out_trade_no.clone() }
    }

    /// The fields in which a repeat differs; `spbill_create_ip` and `time_expire` do not count.
    pub(crate) fn different_fields(&self, repeat: &Self) -> Vec<&'static str> {
        let same = [
            ("mch_id", self.mch_id == repeat.mch_id),
            ("appid", self.appid == repeat.appid),
            ("out_trade_no", self.out_trade_no == repeat.out_trade_no),
            ("trade_type", self.trade_type == repeat.trade_type),
            ("body", self.body == repeat.body),
            ("total_fee", self.total_fee == repeat.total_fee),
            ("openid", self.openid == repeat.openid),
            ("product_id", self.product_id == repeat.product_id),
            ("scene_info", self.scene_info == repeat.scene_info),
            ("attach", self.attach == repeat.attach),
            ("detail", self.detail == repeat.detail),
            ("goods_tag", self.goods_tag == repeat.goods_tag),
            ("limit_pay", self.limit_pay == repeat.limit_pay),
            ("device_info", self.device_info == repeat.device_info),
            ("receipt", self.receipt == repeat.receipt),
            ("sub_mch_id", self.sub_mch_id == repeat.sub_mch_id),
            ("sub_appid", self.sub_appid == repeat.sub_appid),
            ("sub_openid", self.sub_openid == repeat.sub_openid),
        ];
        same.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}
