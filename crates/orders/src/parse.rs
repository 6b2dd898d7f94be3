//! Reads the JSON of commands. Every wrong field is reported at once, so that a shop needs one attempt
//! to repair its message.

use std::fmt;
use std::net::IpAddr;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wechatpay_v2::unifiedorder::TradeType;
use wechatpay_v2::{AppId, BeijingTime, Fen, MchId, OpenId, OutTradeNo};

use crate::reader::Reader;
use crate::{FieldProblem, OrderKey, OrderRequest, Problem, json, text};

/// The largest body of a command, in bytes. An order whose fields all have their greatest length
/// and consist of JSON escapes alone stays below it.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;

/// Why a body is not a valid command. `Debug` omits `out_trade_no`: an invalid one holds anything.
#[derive(Clone, PartialEq, Eq)]
pub enum InvalidCommand {
    /// Not one JSON object.
    Malformed(&'static str),
    /// Fields break their rules. `mch_id` and `out_trade_no` are what could be read of the order's
    /// number, so that the answer names the order.
    Fields {
        /// Every wrong field. If there are more than 32, the last entry is `*` with their count.
        errors: Vec<FieldProblem>,
        /// `None` when it is missing or invalid.
        mch_id: Option<MchId>,
        /// As given, if it is a string: cut to 64 characters, unprintable ones replaced, because
        /// events and tables carry it.
        out_trade_no: Option<String>,
    },
}

impl InvalidCommand {
    #[must_use]
    pub fn into_problem(self) -> Problem {
        match self {
            Self::Malformed(what) => Problem::malformed(what),
            Self::Fields { errors, .. } => Problem::invalid(errors),
        }
    }
}

impl fmt::Debug for InvalidCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => f.debug_tuple("Malformed").field(what).finish(),
            Self::Fields { errors, mch_id, .. } => f
                .debug_struct("Fields")
                .field("errors", errors)
                .field("mch_id", mch_id)
                .finish_non_exhaustive(),
        }
    }
}

impl OrderRequest {
    /// Reads the JSON of an order.
    ///
    /// # Errors
    /// Names **every** field that breaks its rule, unknown fields included.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidCommand> {
        read(bytes, order)
    }
}

impl OrderKey {
    /// Reads the JSON of `order.close` and `order.query`.
    ///
    /// # Errors
    /// Names every field that breaks its rule, unknown fields included.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidCommand> {
        read(bytes, key)
    }
}

fn read<T>(bytes: &[u8], take: impl FnOnce(&mut Reader) -> Option<T>) -> Result<T, InvalidCommand> {
    if bytes.len() > COMMAND_BYTES_MAX {
        return Err(InvalidCommand::Malformed("larger than 65536 bytes"));
    }
    let map = json::parse(bytes).map_err(InvalidCommand::Malformed)?;
    let given = |name| map.get(name).and_then(Value::as_str);
    let mch_id = given("mch_id").and_then(|text| MchId::parse(text).ok());
    let out_trade_no = given("out_trade_no").map(text::echo);
    let mut reader = Reader::new(map);
    let taken = take(&mut reader);
    let errors = reader.finish();
    match taken {
        Some(value) if errors.is_empty() => Ok(value),
        _ => Err(InvalidCommand::Fields { errors, mch_id, out_trade_no }),
    }
}

fn key(reader: &mut Reader) -> Option<OrderKey> {
    let mch_id = reader.required("mch_id", MchId::parse);
    let out_trade_no = reader.required("out_trade_no", OutTradeNo::parse);
    Some(OrderKey { mch_id: mch_id?, out_trade_no: out_trade_no? })
}

/// `None` when a required field is missing or wrong. A wrong optional field reads as absent here;
/// the reader has its error.
fn order(reader: &mut Reader) -> Option<OrderRequest> {
    check_combinations(reader);
    let mch_id = reader.required("mch_id", MchId::parse);
    let appid = reader.required("appid", AppId::parse);
    let out_trade_no = reader.required("out_trade_no", OutTradeNo::parse);
    let trade_type = reader.optional("trade_type", |text| TradeType::parse(&text));
    let body = reader.text("body", 127, text::BASIC_PLANE);
    if body.is_none() {
        reader.missing("body");
    }
    let total_fee = total_fee(reader);
    let spbill_create_ip = ip(reader);
    Some(OrderRequest {
        trade_type: trade_type.unwrap_or_default(),
        openid: reader.optional("openid", OpenId::parse),
        product_id: reader.text("product_id", 32, text::ANY),
        scene_info: reader.text("scene_info", 256, text::JSON_OBJECT),
        attach: reader.text("attach", 127, text::ATTACH),
        detail: reader.text("detail", 6000, text::JSON_OBJECT),
        goods_tag: reader.text("goods_tag", 32, text::ANY),
        limit_pay: reader.literal("limit_pay", "no_credit"),
        device_info: reader.text("device_info", 32, text::DEVICE_INFO),
        receipt: reader.literal("receipt", "Y"),
        time_expire: time_expire(reader),
        sub_mch_id: reader.optional("sub_mch_id", MchId::parse),
        sub_appid: reader.optional("sub_appid", AppId::parse),
        sub_openid: reader.optional("sub_openid", OpenId::parse),
        mch_id: mch_id?,
        out_trade_no: out_trade_no?,
        appid: appid?,
        body: body?,
        total_fee: total_fee?,
        spbill_create_ip: spbill_create_ip?,
    })
}

/// Rules that span fields, checked before any field is taken. A field that is given but wrong
/// counts as given: its own rule names it.
fn check_combinations(reader: &mut Reader) {
    let has_payer = reader.is_given("openid") || reader.is_given("sub_openid");
    match trade_type(reader) {
        Some(TradeType::Jsapi) if !has_payer => {
            reader.wrong("openid", "given for JSAPI (or sub_openid for a sub-merchant)");
        }
        Some(TradeType::Native) if !reader.is_given("product_id") => {
            reader.wrong("product_id", "given for NATIVE");
        }
        Some(TradeType::Mweb) if !reader.is_given("scene_info") => {
            reader.wrong("scene_info", "given for MWEB");
        }
        _ => {}
    }
    if reader.is_given("sub_openid") && !reader.is_given("sub_appid") {
        reader.wrong("sub_appid", "given together with sub_openid");
    }
    if reader.is_given("sub_appid") && !reader.is_given("sub_mch_id") {
        reader.wrong("sub_mch_id", "given together with sub_appid");
    }
}

/// `None` when it is wrong: which other fields it requires is unknown then.
fn trade_type(reader: &Reader) -> Option<TradeType> {
    match reader.get("trade_type") {
        None => Some(TradeType::default()),
        Some(value) => TradeType::parse(value.as_str()?).ok(),
    }
}

fn total_fee(reader: &mut Reader) -> Option<Fen> {
    // as_i64 is None for a number with a point or an exponent: 9900.0 is not an amount.
    let number = reader.take("total_fee").and_then(|value| value.as_i64());
    let fen = number.filter(|fen| *fen >= 1).and_then(|fen| Fen::new(fen).ok());
    if fen.is_none() {
        reader.wrong("total_fee", "a whole number of fen from 1 to 9007199254740991");
    }
    fen
}

fn ip(reader: &mut Reader) -> Option<String> {
    let text = reader.take_string("spbill_create_ip");
    let ip = text.filter(|text| text.parse::<IpAddr>().is_ok());
    if ip.is_none() {
        reader.wrong("spbill_create_ip", "one IPv4 or IPv6 address");
    }
    ip
}

/// Cut to whole seconds. An instant that WeChat's format cannot express is refused, not moved.
fn time_expire(reader: &mut Reader) -> Option<OffsetDateTime> {
    let text = reader.take_string("time_expire")?;
    let instant = OffsetDateTime::parse(&text, &Rfc3339).ok();
    let read = instant.and_then(|instant| {
        let read = BeijingTime::from_instant(instant).instant();
        (read.unix_timestamp() == instant.unix_timestamp()).then_some(read)
    });
    if read.is_none() {
        reader.wrong("time_expire", "a time in RFC 3339 format, from 1970 to 9999");
    }
    read
}
