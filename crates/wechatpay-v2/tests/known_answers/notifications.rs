use wechatpay_v2::payment::is_safe_to_echo;
use wechatpay_v2::payment_notification::{NotificationError, Received};
use wechatpay_v2::{
    AppId, BeijingTime, Coupon, Fen, Fields, Limits, MchId, OpenId, OutTradeNo, Payment, SignType,
    SignatureError, TransactionId, notification_answer, parse_xml, write_xml,
};

use crate::samples::{self, key, other_key, signed};

fn fen(amount: i64) -> Fen {
    Fen::new(amount).unwrap()
}

/// The payment of N1.
pub(crate) fn payment() -> Payment {
    Payment {
        transaction_id: TransactionId::parse("4200009876202607211234567890").unwrap(),
        out_trade_no: samples::out_trade_no(),
        mch_id: MchId::parse("1699000001").unwrap(),
        appid: samples::appid(),
        sub_mch_id: None,
        sub_appid: None,
        total_fee: fen(9900),
        fee_type: "CNY".to_owned(),
        cash_fee: Some(fen(9900)),
        settlement_total_fee: None,
        coupon_fee: None,
        coupons: Vec::new(),
        openid: Some(OpenId::parse("oDemoUser0000000000000000001").unwrap()),
        sub_openid: None,
        trade_type: Some("JSAPI".to_owned()),
        bank_type: Some("OTHERS".to_owned()),
        attach: Some("shop=7;src=mini".to_owned()),
        time_end: BeijingTime::parse("time_end", "20260721183142").unwrap(),
    }
}

fn coupon(coupon_id: &str, coupon_type: &str, coupon_fee: i64) -> Coupon {
    Coupon {
        coupon_id: coupon_id.to_owned(),
        coupon_type: Some(coupon_type.to_owned()),
        coupon_fee: fen(coupon_fee),
    }
}

/// The payment with the coupons of N5 and Q11.
pub(crate) fn coupons(payment: Payment) -> Payment {
    Payment {
        cash_fee: Some(fen(9100)),
        coupon_fee: Some(fen(800)),
        coupons: vec![coupon("30000000001", "CASH", 500), coupon("30000000002", "NO_CASH", 300)],
        settlement_total_fee: Some(fen(9600)),
        ..payment
    }
}

fn read(body: &[u8]) -> Result<(SignType, Payment), NotificationError> {
    let verified = Received::parse(body)?.verify([&key()])?;
    Ok((verified.sign_type(), verified.payment()?))
}

fn read_fields(fields: &Fields) -> Result<Payment, NotificationError> {
    read(write_xml(fields).as_bytes()).map(|(_, payment)| payment)
}

#[test]
fn notification_is_read_as_its_payment() {
    let md5 = SignType::Md5;
    let transaction = |text| TransactionId::parse(text).unwrap();
    let n6 = Payment {
        transaction_id: transaction("4200009876202607211234567891"),
        out_trade_no: OutTradeNo::parse("SO20260721A0002").unwrap(),
        total_fee: fen(500),
        cash_fee: Some(fen(0)),
        coupon_fee: Some(fen(500)),
        coupons: vec![coupon("30000000003", "CASH", 500)],
        ..payment()
    };
    let n9 = Payment {
        transaction_id: transaction("4200009876202607211234567892"),
        out_trade_no: OutTradeNo::parse("SP20260721B0001").unwrap(),
        sub_appid: Some(AppId::parse("wx77ab01cd23ef4567").unwrap()),
        sub_mch_id: Some(MchId::parse("1699000102").unwrap()),
        sub_openid: Some(OpenId::parse("oDemoSubUser00000000000000002").unwrap()),
        ..payment()
    };
    // The amount of N11 is wrong, and N12 is a second payment. Only the caller, who knows the order,
    // can notice.
    let n11 = Payment { total_fee: fen(1), cash_fee: Some(fen(1)), ..payment() };
    let n12 = Payment {
        transaction_id: transaction("4200009876202607219999999999"),
        time_end: BeijingTime::parse("time_end", "20260721183155").unwrap(),
        ..payment()
    };
    let n13 = Payment {
        cash_fee: Some(fen(9395)),
        coupon_fee: Some(fen(505)),
        coupons: vec![coupon("880001", "NO_CASH", 505)],
        settlement_total_fee: Some(fen(9395)),
        ..payment()
    };
    let n4 = Payment { attach: None, ..payment() };
    for (id, sign_type, expected) in [
        ("N1", md5, payment()),
        ("N2", SignType::HmacSha256, payment()),
        ("N3", SignType::HmacSha256, payment()),
        ("N4", md5, n4),
        ("N5", md5, coupons(payment())),
        ("N6", md5, n6),
        ("N9", md5, n9),
        ("N11", md5, n11),
        ("N12", md5, n12),
        ("N13", md5, n13),
    ] {
        assert_eq!(read(&samples::body(id)), Ok((sign_type, expected)), "{id}");
    }
}

#[test]
fn notification_without_success_is_no_payment() {
    assert_eq!(read(&samples::body("N7")), Err(NotificationError::ResultCode));
    assert_eq!(read(&samples::body("N8")), Err(NotificationError::ReturnCode));
    let mut fields = samples::fields("N1");
    fields.remove("return_code");
    assert_eq!(read_fields(&signed(fields, SignType::Md5)), Err(NotificationError::ReturnCode));
}

#[test]
fn verify_tries_each_key_of_the_merchant() {
    let received = Received::parse(&samples::body("N1")).unwrap();
    assert_eq!(received.mch_id(), Some("1699000001"));
    let keys = [other_key(), key()];
    assert!(received.clone().verify(&keys).is_ok());
    assert!(received.clone().verify([&key(), &other_key()]).is_ok());
    let wrong = NotificationError::Signature(SignatureError::Wrong);
    assert_eq!(received.clone().verify([&other_key()]).unwrap_err(), wrong);
    assert_eq!(received.verify([]).unwrap_err(), wrong);

    let mut fields = samples::fields("N1");
    fields.remove("sign");
    let unsigned = Received::parse(write_xml(&fields).as_bytes()).unwrap();
    assert_eq!(
        unsigned.verify(&keys).unwrap_err(),
        NotificationError::Signature(SignatureError::Missing)
    );
}

#[test]
fn payment_with_a_malformed_field_is_refused() {
    for (name, text) in [
        ("transaction_id", ""),
        ("transaction_id", "42&x=1"),
        ("out_trade_no", ""),
        ("out_trade_no", "SO 20260721"),
        ("mch_id", "16990000O1"),
        ("appid", ""),
        ("total_fee", ""),
        ("total_fee", "-1"),
        ("total_fee", "99.00"),
        ("total_fee", "9007199254740992"),
        ("cash_fee", "1e3"),
        ("time_end", ""),
        ("time_end", "20260721183160"),
        ("time_end", "2026-07-21 18:31:42"),
        ("openid", "o<script>"),
        ("sub_mch_id", "x"),
        ("sub_appid", "wx-1"),
        ("sub_openid", "…"),
    ] {
        let mut fields = samples::fields("N1");
        fields.insert(name, text);
        match read_fields(&signed(fields, SignType::Md5)) {
            Err(NotificationError::Field(error)) => assert_eq!(error.field, name, "{text}"),
            other => panic!("{name} {text:?}: {other:?}"),
        }
    }
    let mut fields = samples::fields("N5");
    fields.remove("coupon_fee_1");
    assert!(matches!(
        read_fields(&signed(fields, SignType::Md5)),
        Err(NotificationError::Field(_))
    ));
}

#[test]
fn hundred_coupons_are_read_in_order() {
    let mut fields = samples::fields("N1");
    for n in 0..100 {
        fields.insert(format!("coupon_id_{n}"), format!("{n}"));
        fields.insert(format!("coupon_fee_{n}"), "1");
    }
    let limits = Limits { elements: 512, ..Limits::MESSAGE };
    let fields = parse_xml(write_xml(&fields).as_bytes(), limits).unwrap();
    let payment = Payment::from_fields(&fields).unwrap();
    let ids: Vec<_> = payment.coupons.iter().map(|c| c.coupon_id.clone()).collect();
    let expected: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(ids, expected);
}

/// The text that was signed is the text that is read: white space added later is dropped.
#[test]
fn unsigned_outer_white_space_is_not_read() {
    let mut fields = samples::fields("N1");
    for (name, text) in samples::fields("N1").iter() {
        // `return_code` is read before the signature is verified.
        if name != "return_code" {
            fields.insert(name, format!("\n {text}\t "));
        }
    }
    fields.insert("blank", "  ");
    assert_eq!(read_fields(&fields), Ok(payment()));

    // U+3000 is a character of the text, which WeChat's SDK does not trim either.
    let mut fields = samples::fields("N1");
    fields.insert("attach", "会员\u{3000}");
    let mut fields = signed(fields, SignType::Md5);
    fields.insert("attach", " 会员\u{3000} ");
    let attach = read_fields(&fields).unwrap().attach;
    assert_eq!(attach.as_deref(), Some("会员\u{3000}"));
    fields.insert("attach", "会员");
    assert_eq!(read_fields(&fields), Err(NotificationError::Signature(SignatureError::Wrong)));
}

/// The string to sign escapes nothing. An attacker who pays one fen with a crafted `attach` and can
/// rewrite the notification could otherwise turn it into the payment of an expensive order.
#[test]
fn elements_hidden_in_an_attach_are_refused() {
    let hidden = "a&mch_id=1699000001&out_trade_no=SO9999&result_code=SUCCESS&return_code=SUCCESS\
                  &time_end=20260721183142&total_fee=9900&tp=";
    assert!(hidden.len() <= 127, "fits into an attach");
    let mut honest = samples::fields("N11");
    honest.insert("attach", hidden);
    let honest = signed(honest, SignType::Md5);
    let (_, paid) = read(write_xml(&honest).as_bytes()).unwrap();
    assert_eq!((paid.total_fee.get(), paid.attach.as_deref()), (1, Some(hidden)));

    let hidden_elements: Vec<_> = honest
        .iter()
        .filter(|(name, _)| ("attach".."total_fez").contains(name) && *name != "sign")
        .skip(1)
        .map(|(name, text)| format!("{name}={text}"))
        .collect();
    let mut forged: Fields = honest
        .iter()
        .filter(|(name, _)| !("attach".."total_fez").contains(name) || *name == "sign")
        .collect();
    for pair in hidden.trim_end_matches("&tp=").split('&') {
        let (name, text) = pair.split_once('=').unwrap_or(("attach", pair));
        forged.insert(name, text);
    }
    forged.insert("tp", format!("&{}", hidden_elements.join("&")));
    // The signature does not tell them apart.
    let bytes = write_xml(&forged);
    let verified = Received::parse(bytes.as_bytes()).unwrap().verify([&key()]);
    assert_eq!(forged.get("total_fee"), Some("9900"));
    match verified.unwrap().payment() {
        Err(NotificationError::Field(error)) => {
            assert_eq!(error.rule, "an element of its own");
        }
        other => panic!("{other:?}"),
    }
}

/// A message without `fee_type` means CNY. Without the key, dollars could become yuan by moving
/// `fee_type` and all elements before it into the `attach`.
#[test]
fn fee_type_hidden_in_the_attach_is_refused() {
    let mut honest = samples::fields("N1");
    honest.insert("fee_type", "USD");
    let honest = signed(honest, SignType::Md5);
    assert_eq!(read_fields(&honest).unwrap().fee_type, "USD");

    let up_to_fee_type = |name: &str| ("attach".."fee_typf").contains(&name);
    let hidden_elements: Vec<_> = honest
        .iter()
        .filter(|(name, text)| up_to_fee_type(name) && !text.is_empty())
        .map(|(name, text)| format!("{name}={text}"))
        .collect();
    let mut forged: Fields = honest.iter().filter(|(name, _)| !up_to_fee_type(name)).collect();
    forged.insert("attach", hidden_elements.join("&").trim_start_matches("attach="));
    let refused = |fields: &Fields| match read_fields(fields) {
        Err(NotificationError::Field(error)) => assert_eq!(error.field, "fee_type"),
        other => panic!("{other:?}"),
    };
    refused(&forged);
    // An empty element is not signed, so anyone can add it.
    forged.insert("fee_type", "");
    refused(&forged);
}

/// If a true notification were refused, its order would stay unpaid for ever.
#[test]
fn text_is_safe_to_echo_exactly_if_its_payment_is_read() {
    for (field, text, can) in [
        ("attach", "shop=7&total_fee=1", true),
        ("attach", "<xml>]]>&lt;<!-- ", true),
        ("attach", "a&fee_type=CNY", false),
        ("attach", "<!DocType", false),
        ("attach", "a<!ENTITY", false),
        ("device_info", "R&D <1>", true),
        ("device_info", "fee_type=CNY", true),
        ("device_info", "a&fee_type=CNY", false),
        ("device_info", "&total_fee=1", false),
        ("device_info", "<!DOCTYPE x>", false),
    ] {
        assert_eq!(is_safe_to_echo(field, text), can, "{field}: {text}");
        let mut fields = samples::fields("N1");
        fields.insert(field, text);
        fields.remove("fee_type");
        let fields = signed(fields, SignType::Md5);
        let cdata = |text: &str| text.replace("]]>", "]]]]><![CDATA[>");
        let elements = fields
            .iter()
            .map(|(name, text)| format!("<{name}><![CDATA[{}]]></{name}>", cdata(text)));
        let body = format!("<xml>{}</xml>", elements.collect::<String>());
        assert_eq!(read(body.as_bytes()).is_ok(), can, "{field}: {text}");
    }
}

#[test]
fn notification_replies_are_byte_exact() {
    // Extra characters would cause repeats.
    assert_eq!(
        notification_answer::SUCCESS,
        "<xml><return_code><![CDATA[SUCCESS]]></return_code>\
         <return_msg><![CDATA[OK]]></return_msg></xml>"
    );
    let parse = |text: &str| parse_xml(text.as_bytes(), Limits::MESSAGE).unwrap();
    assert_eq!(parse(notification_answer::SUCCESS), samples::fields("A1"));
    assert_eq!(parse(&notification_answer::fail("sign mismatch")), samples::fields("A2"));
}

#[test]
fn payment_survives_json() {
    for payment in [payment(), coupons(payment())] {
        let json = serde_json::to_value(&payment).unwrap();
        assert_eq!(json["total_fee"], 9900);
        assert_eq!(json["time_end"], "2026-07-21T10:31:42Z");
        assert_eq!(serde_json::from_value::<Payment>(json).unwrap(), payment);
    }
}
