//! Reads the JSON of commands. Every wrong field is reported at once, so that a shop can repair its
//! message with one attempt.

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wechatpay_v2::unifiedorder::TradeType;
use wechatpay_v2::{AppId, BeijingTime, Fen, FieldError, MchId, OpenId, OutTradeNo};

use crate::text::{self, Shape};
use crate::{FieldProblem, OrderKey, OrderRequest, Problem, json};

/// The largest body of a command, in bytes. An order whose fields all have their greatest length
/// and consist of JSON escapes alone stays below it.
pub const ORDER_BYTES_MAX: usize = 64 * 1024;

/// Why a body is not a valid command. `Debug` omits `out_trade_no`, because an invalid one can hold
/// anything.
#[derive(Clone, PartialEq, Eq)]
pub enum InvalidOrder {
    /// Not one JSON object.
    Malformed(&'static str),
    /// Fields break their rules. `mch_id` and `out_trade_no` are what could be read of the order's
    /// number, so that the sender can be told which order it is about.
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

impl InvalidOrder {
    #[must_use]
    pub fn into_problem(self) -> Problem {
        match self {
            Self::Malformed(what) => Problem::malformed(what),
            Self::Fields { errors, .. } => Problem::invalid(errors),
        }
    }
}

impl fmt::Debug for InvalidOrder {
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
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidOrder> {
        Reader::read(bytes, Reader::order)
    }
}

impl OrderKey {
    /// Reads the JSON of `order.close` and `order.query`.
    ///
    /// # Errors
    /// Names every field that breaks its rule, unknown fields included.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidOrder> {
        Reader::read(bytes, Reader::key)
    }
}

/// The problems that one answer lists: all 20 fields of an order and some unknown ones. The list
/// stands in the reply, the event and the table, so a body must not decide how long it is.
const ERRORS_MAX: usize = 32;

struct Reader {
    map: Map<String, Value>,
    errors: Vec<FieldProblem>,
}

impl Reader {
    /// Reads all of a body; what `take` leaves behind is a fault.
    fn read<T>(bytes: &[u8], take: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, InvalidOrder> {
        if bytes.len() > ORDER_BYTES_MAX {
            return Err(InvalidOrder::Malformed("larger than 65536 bytes"));
        }
        let map = json::parse(bytes).map_err(InvalidOrder::Malformed)?;
        let given = |name| map.get(name).and_then(Value::as_str);
        let mch_id = given("mch_id").and_then(|text| MchId::parse(text).ok());
        let out_trade_no = given("out_trade_no").map(text::echo);
        let errors = Vec::new();
        let mut reader = Self { map, errors };
        let taken = take(&mut reader);
        reader.refuse_rest();
        match taken {
            Some(value) if reader.errors.is_empty() => Ok(value),
            _ => Err(InvalidOrder::Fields { errors: reader.errors, mch_id, out_trade_no }),
        }
    }

    /// `None` when a field is missing or wrong.
    fn key(&mut self) -> Option<OrderKey> {
        let mch_id = self.needed("mch_id", MchId::parse);
        let out_trade_no = self.needed("out_trade_no", OutTradeNo::parse);
        Some(OrderKey { mch_id: mch_id?, out_trade_no: out_trade_no? })
    }

    /// `None` when a needed field is missing or wrong. An optional field that is wrong reads as
    /// absent here and is noted, so the caller looks at `errors` first.
    fn order(&mut self) -> Option<OrderRequest> {
        self.check_together();
        let mch_id = self.needed("mch_id", MchId::parse);
        let appid = self.needed("appid", AppId::parse);
        let out_trade_no = self.needed("out_trade_no", OutTradeNo::parse);
        let trade_type = self.optional("trade_type", |text| TradeType::parse(&text));
        let body = self.text("body", 127, text::BASIC_PLANE);
        if body.is_none() {
            self.missing("body");
        }
        let total_fee = self.total_fee();
        let spbill_create_ip = self.ip();
        Some(OrderRequest {
            trade_type: trade_type.unwrap_or_default(),
            openid: self.optional("openid", OpenId::parse),
            product_id: self.text("product_id", 32, text::ANY),
            scene_info: self.text("scene_info", 256, text::JSON_OBJECT),
            attach: self.text("attach", 127, text::ATTACH),
            detail: self.text("detail", 6000, text::JSON_OBJECT),
            goods_tag: self.text("goods_tag", 32, text::ANY),
            limit_pay: self.literal("limit_pay", "no_credit"),
            device_info: self.text("device_info", 32, text::DEVICE_INFO),
            receipt: self.literal("receipt", "Y"),
            time_expire: self.time_expire(),
            sub_mch_id: self.optional("sub_mch_id", MchId::parse),
            sub_appid: self.optional("sub_appid", AppId::parse),
            sub_openid: self.optional("sub_openid", OpenId::parse),
            mch_id: mch_id?,
            out_trade_no: out_trade_no?,
            appid: appid?,
            body: body?,
            total_fee: total_fee?,
            spbill_create_ip: spbill_create_ip?,
        })
    }

    /// Rules that span fields, while all of them are still there: a field that is given but wrong
    /// is named by its own rule and counts as given here.
    fn check_together(&mut self) {
        let given = |field| self.map.contains_key(field);
        let [openid, sub_openid, sub_appid, sub_mch_id, product_id, scene_info] =
            ["openid", "sub_openid", "sub_appid", "sub_mch_id", "product_id", "scene_info"]
                .map(given);
        match self.trade_type() {
            Some(TradeType::Jsapi) if !openid && !sub_openid => {
                self.wrong("openid", "given for JSAPI (or sub_openid for a sub-merchant)");
            }
            Some(TradeType::Native) if !product_id => {
                self.wrong("product_id", "given for NATIVE");
            }
            Some(TradeType::Mweb) if !scene_info => self.wrong("scene_info", "given for MWEB"),
            _ => {}
        }
        if sub_openid && !sub_appid {
            self.wrong("sub_appid", "given together with sub_openid");
        }
        if sub_appid && !sub_mch_id {
            self.wrong("sub_mch_id", "given together with sub_appid");
        }
    }

    /// `None` when it is wrong: which other fields it needs is unknown then.
    fn trade_type(&self) -> Option<TradeType> {
        match self.map.get("trade_type") {
            None => Some(TradeType::default()),
            Some(value) => TradeType::parse(value.as_str()?).ok(),
        }
    }

    fn wrong(&mut self, field: &str, rule: &str) {
        // A field that is wrong already is not also missing.
        if self.errors.iter().all(|error| error.field != field) {
            self.errors.push(FieldProblem::new(field, rule));
        }
    }

    fn missing(&mut self, field: &str) {
        self.wrong(field, "given");
    }

    fn take_text(&mut self, field: &'static str) -> Option<String> {
        match self.map.remove(field)? {
            Value::String(text) => Some(text),
            _ => {
                self.wrong(field, "a text");
                None
            }
        }
    }

    fn optional<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(String) -> Result<T, FieldError>,
    ) -> Option<T> {
        match parse(self.take_text(field)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(field, error.rule);
                None
            }
        }
    }

    fn needed<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(String) -> Result<T, FieldError>,
    ) -> Option<T> {
        let value = self.optional(field, parse);
        if value.is_none() {
            self.missing(field);
        }
        value
    }

    fn text(&mut self, field: &'static str, bytes_max: usize, shape: Shape) -> Option<String> {
        let text = self.take_text(field)?;
        if !text::is_plain(&text, bytes_max) || !(shape.holds)(&text) {
            let rule = format!(
                "{} of 1 to {bytes_max} bytes of UTF-8 without outer white space, control \
                 characters, line separators or bidirectional controls",
                shape.name
            );
            self.wrong(field, &rule);
            return None;
        }
        Some(text)
    }

    fn literal(&mut self, field: &'static str, literal: &str) -> Option<String> {
        let text = self.take_text(field)?;
        if text != literal {
            self.wrong(field, &format!("the text {literal}"));
            return None;
        }
        Some(text)
    }

    /// `as_i64` is `None` for whatever is written with a point or an exponent: 9900.0 is no amount.
    fn total_fee(&mut self) -> Option<Fen> {
        let value = self.map.remove("total_fee");
        let fen = value
            .and_then(|value| value.as_i64())
            .filter(|fen| *fen >= 1)
            .and_then(|fen| Fen::new(fen).ok());
        if fen.is_none() {
            self.wrong("total_fee", "a whole number of fen from 1 to 9007199254740991");
        }
        fen
    }

    fn ip(&mut self) -> Option<String> {
        let text = self.take_text("spbill_create_ip");
        let ip = text.filter(|text| text.parse::<IpAddr>().is_ok());
        if ip.is_none() {
            self.wrong("spbill_create_ip", "one IPv4 or IPv6 address");
        }
        ip
    }

    /// Cut to whole seconds, and otherwise refused rather than moved: what WeChat cannot read as
    /// the instant that was meant is wrong.
    fn time_expire(&mut self) -> Option<OffsetDateTime> {
        let text = self.take_text("time_expire")?;
        let instant = OffsetDateTime::parse(&text, &Rfc3339).ok();
        let read = instant.and_then(|instant| {
            let read = BeijingTime::from_instant(instant).instant();
            (read.unix_timestamp() == instant.unix_timestamp()).then_some(read)
        });
        if read.is_none() {
            self.wrong("time_expire", "a time as RFC 3339 writes it, from 1970 to 9999");
        }
        read
    }

    fn refuse_rest(&mut self) {
        let rest = std::mem::take(&mut self.map);
        let room = ERRORS_MAX - self.errors.len();
        let listed = if rest.len() > room { room - 1 } else { room };
        for name in rest.keys().take(listed) {
            self.wrong(&text::echo(name), "left out: it is no field of this message");
        }
        let more = rest.len().saturating_sub(listed);
        if more > 0 {
            let rule = format!("left out: {more} more are no fields of this message");
            self.errors.push(FieldProblem::new("*", rule));
        }
    }
}
