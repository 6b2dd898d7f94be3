//! The payment notification as WeChat writes it, and every way in which a test can forge or break
//! it.

use wechatpay_v2::{ApiKey, Fields, Nonce, SignType};

use crate::config::Merchant;
use crate::message::{Message, write_element, wrong_signature};
use crate::order::OrderKey;
use crate::pay_options::{Malformation, PayOptions, Signing};
use crate::payment::{Payment, fee_elements, payer_elements};

pub(crate) struct Notification {
    message: Message,
    key: ApiKey,
    sign_type: SignType,
    signing: Signing,
    malform: Option<Malformation>,
}

/// No merchant has this key.
const OTHER_KEY: &str = "00000000000000000000000000000000";

impl Notification {
    /// `parameters` are those of the order's first unifiedorder, `sign_type` is its algorithm.
    pub(crate) fn compose(
        merchant: &Merchant,
        order: &OrderKey,
        parameters: &Fields,
        payment: &Payment,
        sign_type: SignType,
        options: &PayOptions,
    ) -> Self {
        let total_fee = options.total_fee.unwrap_or(payment.total_fee);
        let mut message = Message::default();
        message.echo(parameters, &["appid", "attach"]);
        message.set("bank_type", "OTHERS");
        message.set("fee_type", "CNY");
        message.set("mch_id", &order.mch_id);
        message.set("nonce_str", Nonce::generate());
        message.set("out_trade_no", &order.out_trade_no);
        message.set("result_code", "SUCCESS");
        message.set("return_code", "SUCCESS");
        message.extend(payer_elements(parameters));
        message.echo(parameters, &["sub_appid", "sub_mch_id"]);
        message.set("time_end", payment.time_end);
        message.set("total_fee", total_fee);
        message.set("transaction_id", &payment.transaction_id);
        message.extend(fee_elements(&payment.coupons, total_fee));
        let overrides = [
            ("mch_id", &options.mch_id),
            ("appid", &options.appid),
            ("out_trade_no", &options.out_trade_no),
        ];
        message.extend(overrides.into_iter().filter_map(|(n, text)| Some((n, text.clone()?))));
        message.extend(options.extra_fields.clone());
        message.extend(options.empty_fields.iter().map(|name| (name, String::new())));
        let key = match options.sign {
            Signing::OtherKey => ApiKey::parse(OTHER_KEY).expect("32 digits are a key"),
            _ => merchant.key.clone(),
        };
        let sign_type = match options.sign {
            Signing::Md5 => SignType::Md5,
            Signing::HmacSha256 => SignType::HmacSha256,
            _ => sign_type,
        };
        Self { message, key, sign_type, signing: options.sign, malform: options.malform }
    }

    pub(crate) fn renew_nonce(&mut self) {
        self.message.set("nonce_str", Nonce::generate());
    }

    /// Signs the notification and returns its bytes.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut message = self.message.clone();
        match self.malform {
            Some(Malformation::ReturnFail) => {
                return Message::failure("通信失败").to_xml().into_bytes();
            }
            Some(Malformation::NoReturnCode) => message.remove("return_code"),
            Some(Malformation::Huge) => message.set("promotion_detail", "x".repeat(70 * 1024)),
            Some(Malformation::ResultFail) => {
                message.set("result_code", "FAIL");
                message.set("err_code", "PAYERROR");
                message.set("err_code_des", "支付失败(其他原因，如银行返回失败)");
            }
            _ => {}
        }
        let signature = message.signature(&self.key, self.sign_type);
        match self.signing {
            Signing::Missing => {}
            Signing::Empty => message.set("sign", ""),
            Signing::Wrong => message.set("sign", wrong_signature(&signature)),
            Signing::Lowercase => message.set("sign", signature.to_ascii_lowercase()),
            Signing::Order | Signing::Md5 | Signing::HmacSha256 | Signing::OtherKey => {
                message.set("sign", signature);
            }
        }
        malform(message.to_xml(), self.malform)
    }
}

fn malform(xml: String, malform: Option<Malformation>) -> Vec<u8> {
    let before_end = |piece: &str| xml.replace("</xml>", &format!("{piece}</xml>"));
    match malform {
        Some(Malformation::Doctype) => {
            let doctype = r#"<!DOCTYPE xml [<!ENTITY x SYSTEM "file:///etc/hostname">]>"#;
            format!("{doctype}\n{xml}").into_bytes()
        }
        Some(Malformation::Duplicate) => before_end(&write_element("total_fee", "1")).into_bytes(),
        Some(Malformation::Nested) => before_end("<a><total_fee>1</total_fee></a>").into_bytes(),
        Some(Malformation::Trailing) => format!("{xml}\n<xml></xml>").into_bytes(),
        Some(Malformation::Truncated) => {
            let end = xml.floor_char_boundary(xml.len() * 2 / 3);
            xml.as_bytes()[..end].to_vec()
        }
        Some(Malformation::Gbk) => {
            // The two characters for "test" in GBK, which are no UTF-8.
            let text = b"<return_msg>\xb2\xe2\xca\xd4</return_msg></xml>";
            [xml.trim_end_matches("</xml>").as_bytes(), text].concat()
        }
        _ => xml.into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use wechatpay_v2::{BeijingTime, Coupon, Fen, Limits, MchId, TransactionId, parse_xml};

    use super::*;

    fn written(sign_type: SignType, nonce: &str, options: &PayOptions) -> Fields {
        let merchant = Merchant {
            mch_id: MchId::parse("1699000001").unwrap(),
            appids: Vec::new(),
            key: ApiKey::parse("OrderWorkerDemoKeyV2Only00000002").unwrap(),
            sign_type,
            notify_base_url: None,
        };
        let order = OrderKey {
            mch_id: merchant.mch_id.clone(),
            out_trade_no: "SO20260721A0001".to_owned(),
        };
        let first = Fields::from_iter([
            ("appid", "wx5f0c2e7a91d34b68"),
            ("attach", "shop=7;src=mini"),
            ("openid", "oDemoUser0000000000000000001"),
            ("trade_type", "JSAPI"),
            ("device_info", "WEB"),
        ]);
        let payment = Payment {
            transaction_id: TransactionId::parse("4200009876202607211234567890").unwrap(),
            time_end: BeijingTime::parse("time_end", "20260721183142").unwrap(),
            total_fee: Fen::new(9900).unwrap(),
            coupons: options.coupons.clone(),
        };
        let mut notification =
            Notification::compose(&merchant, &order, &first, &payment, sign_type, options);
        notification.message.set("nonce_str", nonce);
        parse_xml(&notification.write(), Limits::MESSAGE).unwrap()
    }

    /// The signature covers every element, so equal signatures mean equal messages.
    #[test]
    fn notifications_equal_wechats_samples() {
        let ordinary = PayOptions::default();
        let n1 = written(SignType::Md5, "35W7W1y64LNrFuP3rZWf6veX7qIodRjc", &ordinary);
        assert_eq!(n1.get("sign"), Some("CF1105B04DBE21E76A6FBC638821E3B5"));
        let n2 = written(SignType::HmacSha256, "xVi8P7aEIvl2VhzAxT1Y2ZLt9GJ9141W", &ordinary);
        let sign = "FAC374D8224156ABA895CD552A0FD949BCFF31E7F97EE81DEC3872D4729DD88E";
        assert_eq!(n2.get("sign"), Some(sign));
        assert!(!n2.contains("sign_type"));

        let coupon = |coupon_id: &str, coupon_type: &str, fee| Coupon {
            coupon_id: coupon_id.to_owned(),
            coupon_type: Some(coupon_type.to_owned()),
            coupon_fee: Fen::new(fee).unwrap(),
        };
        let coupons = PayOptions {
            coupons: vec![
                coupon("30000000001", "CASH", 500),
                coupon("30000000002", "NO_CASH", 300),
            ],
            ..PayOptions::default()
        };
        let n5 = written(SignType::Md5, "Mq2AfmE0Atkb6Ar0gEKwBEFbTMi9rpki", &coupons);
        assert_eq!(n5.get("sign"), Some("5E484C65079FECFD9C0BE9A6AD3F1C8B"));

        let future = PayOptions {
            extra_fields: [("future_field_x".to_owned(), "v=1&v=2".to_owned())].into(),
            empty_fields: ["attach", "device_info", "sub_mch_note"].map(str::to_owned).into(),
            ..PayOptions::default()
        };
        let n4 = written(SignType::Md5, "OjYFlK6wlA0TEVe2j18zEViamsfX7jAw", &future);
        assert_eq!(n4.get("sign"), Some("0CB9B7969E062789B226EBBA451CCE27"));
        assert!(n4.contains("sub_mch_note"));
    }
}
