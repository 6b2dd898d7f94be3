use std::fs;
use std::path::Path;

use wechatpay_v2::orderquery::{OrderQuery, OrderStatus, TradeState};
use wechatpay_v2::unifiedorder::{Prepay, TradeType, UnifiedOrder};
use wechatpay_v2::{
    Advice, CallOutcome, Credentials, Fields, MchId, OutTradeNo, Payment, PrepayId, Refused,
    SignType, SignatureError, Unknown, XmlError, closeorder, orderquery, unifiedorder, write_xml,
};

use crate::notifications::{coupons, payment};
use crate::requests::order;
use crate::samples::{self, credentials, order_query, other_key, signed};

fn create(body: &[u8], sign_type: SignType, trade_type: TradeType) -> CallOutcome<Prepay> {
    let parameters = UnifiedOrder { trade_type, ..order() }.parameters();
    unifiedorder::read(body, &credentials(sign_type), &parameters)
}

fn query(body: &[u8], sign_type: SignType) -> CallOutcome<OrderStatus> {
    orderquery::read(body, &credentials(sign_type), &order_query())
}

fn close(body: &[u8], sign_type: SignType) -> CallOutcome<()> {
    closeorder::read(body, &credentials(sign_type))
}

/// The outcomes of all three calls for the same answer, without the value of a success.
fn outcomes(body: &[u8], by: &Credentials) -> [CallOutcome<()>; 3] {
    fn plain<T>(outcome: CallOutcome<T>) -> CallOutcome<()> {
        match outcome {
            CallOutcome::Success(_) => CallOutcome::Success(()),
            CallOutcome::Refused(refused) => CallOutcome::Refused(refused),
            CallOutcome::Unknown(unknown) => CallOutcome::Unknown(unknown),
        }
    }
    [
        plain(unifiedorder::read(body, by, &order().parameters())),
        plain(orderquery::read(body, by, &order_query())),
        plain(closeorder::read(body, by)),
    ]
}

fn refused<T>(err_code: &str, err_code_des: &str, advice: Advice) -> CallOutcome<T> {
    CallOutcome::Refused(Refused {
        err_code: err_code.to_owned(),
        err_code_des: err_code_des.to_owned(),
        advice,
    })
}

fn xml(fields: Fields) -> Vec<u8> {
    write_xml(&fields).into_bytes()
}

#[test]
fn unifiedorder_reads_prepay_of_each_trade_type() {
    let issued = |prepay_id: &str| Prepay {
        prepay_id: PrepayId::parse(prepay_id).unwrap(),
        code_url: None,
        mweb_url: None,
    };
    let jsapi = issued("wx21183000118842f0c7d9a1b2c3d4e50000");
    let native = Prepay {
        code_url: Some("weixin://wxpay/bizpayurl?pr=DemoP1zz".to_owned()),
        ..issued("wx21183100550142aa0011bb22cc33dd0000")
    };
    let mweb_url = "https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=wx21183200770142aa0011bb22cc33dd0000&package=1234567890";
    let mweb = Prepay {
        mweb_url: Some(mweb_url.to_owned()),
        ..issued("wx21183200770142aa0011bb22cc33dd0000")
    };
    let hmac = SignType::HmacSha256;
    for (id, sign_type, trade_type, prepay) in [
        ("U3", SignType::Md5, TradeType::Jsapi, jsapi.clone()),
        ("U4", hmac, TradeType::Jsapi, jsapi),
        ("U5", SignType::Md5, TradeType::Native, native),
        ("U6", SignType::Md5, TradeType::Mweb, mweb),
    ] {
        let outcome = create(&samples::body(id), sign_type, trade_type);
        assert_eq!(outcome, CallOutcome::Success(prepay), "{id}");
    }
}

#[test]
fn unifiedorder_reads_refusals_with_their_advice() {
    for (id, err_code, text, advice) in [
        ("E1", "ORDERPAID", "该订单已支付", Advice::Query),
        ("E2", "INVALID_REQUEST", "201 商户订单号重复", Advice::Query),
        ("E3", "SYSTEMERROR", "系统繁忙，请稍后再试", Advice::Retry),
        ("E4", "ORDERCLOSED", "该订单已关闭", Advice::NumberUnusable),
    ] {
        let outcome = create(&samples::body(id), SignType::Md5, TradeType::Jsapi);
        assert_eq!(outcome, refused(err_code, text, advice), "{id}");
    }
}

#[test]
fn communication_failure_is_unknown_for_every_call() {
    let by = credentials(SignType::Md5);
    for (id, text) in [
        ("E5", "签名错误"),
        ("E6", "XML格式错误"),
        ("E7", "time_expire时间过短，刷卡至少1分钟，其他5分钟"),
        ("E8", "system busy"),
    ] {
        let unknown = Unknown::Communication { return_msg: text.to_owned() };
        for outcome in outcomes(&samples::body(id), &by) {
            assert_eq!(outcome, CallOutcome::Unknown(unknown.clone()), "{id}");
        }
    }
    for (body, reason) in [
        (samples::body("E9"), XmlError::Root("xml")),
        (Vec::new(), XmlError::Malformed),
        (b"SUCCESS".to_vec(), XmlError::Malformed),
        (vec![b' '; 65 * 1024], XmlError::TooLarge(64 * 1024)),
    ] {
        for outcome in outcomes(&body, &by) {
            assert_eq!(outcome, CallOutcome::Unknown(Unknown::Xml(reason.clone())));
        }
    }
}

#[test]
fn unauthentic_answer_is_unknown_for_every_call() {
    let by = credentials(SignType::Md5);
    let success = samples::fields("C2");
    let without = |name: &str| {
        let mut fields = success.clone();
        fields.remove(name);
        fields
    };
    let other_merchant = Credentials { mch_id: MchId::parse("1699000002").unwrap(), ..by.clone() };
    let other_key = Credentials { key: other_key(), ..by.clone() };
    let hmac = credentials(SignType::HmacSha256);
    let no_text = Unknown::Communication { return_msg: "OK".to_owned() };
    for (fields, by, reason) in [
        (success.clone(), &other_key, Unknown::Signature(SignatureError::Wrong)),
        (without("sign"), &by, Unknown::Signature(SignatureError::Missing)),
        (without("return_code"), &by, no_text),
        (success.clone(), &hmac, Unknown::SignTypeMismatch),
        (success.clone(), &other_merchant, Unknown::Mismatch("mch_id")),
        (signed(without("mch_id"), SignType::Md5), &by, Unknown::Mismatch("mch_id")),
    ] {
        for outcome in outcomes(&xml(fields.clone()), by) {
            assert_eq!(outcome, CallOutcome::Unknown(reason.clone()));
        }
    }
    for outcome in outcomes(&xml(signed(without("result_code"), SignType::Md5)), &by) {
        let CallOutcome::Unknown(Unknown::Field(error)) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(error.field, "result_code");
    }
}

#[test]
fn answer_about_another_order_is_unknown() {
    let native = samples::body("U5");
    assert_eq!(
        create(&native, SignType::Md5, TradeType::Jsapi),
        CallOutcome::Unknown(Unknown::Mismatch("trade_type"))
    );
    let mut fields = samples::fields("U3");
    fields.insert("appid", "wx77ab01cd23ef4567");
    assert_eq!(
        create(&xml(signed(fields, SignType::Md5)), SignType::Md5, TradeType::Jsapi),
        CallOutcome::Unknown(Unknown::Mismatch("appid"))
    );
    let query =
        OrderQuery { out_trade_no: OutTradeNo::parse("SO20260721A0002").unwrap(), ..order_query() };
    assert_eq!(
        orderquery::read(&samples::body("Q1"), &credentials(SignType::Md5), &query),
        CallOutcome::Unknown(Unknown::Mismatch("out_trade_no"))
    );
}

#[test]
fn incomplete_prepay_is_unknown() {
    let assert_unknown = |id, name: &'static str, text: &str, trade_type| {
        let mut fields = samples::fields(id);
        fields.insert(name, text);
        let body = xml(signed(fields, SignType::Md5));
        match create(&body, SignType::Md5, trade_type) {
            CallOutcome::Unknown(Unknown::Field(error)) => assert_eq!(error.field, name),
            other => panic!("{id} with {name} {text:?}: {other:?}"),
        }
    };
    let long = format!("weixin://{}", "x".repeat(504));
    assert_unknown("U3", "prepay_id", "", TradeType::Jsapi);
    assert_unknown("U3", "prepay_id", "wx 21", TradeType::Jsapi);
    assert_unknown("U3", "prepay_id", &"x".repeat(65), TradeType::Jsapi);
    assert_unknown("U5", "code_url", "", TradeType::Native);
    assert_unknown("U5", "code_url", &long, TradeType::Native);
    assert_unknown("U6", "mweb_url", "", TradeType::Mweb);
}

#[test]
fn orderquery_reads_every_state() {
    let status = |trade_state, text: &str| {
        CallOutcome::Success(OrderStatus { trade_state, trade_state_desc: text.to_owned() })
    };
    let paid = Payment { bank_type: Some("CMB_DEBIT".to_owned()), ..payment() };
    for (id, trade_state, text) in [
        ("Q1", TradeState::Success(Box::new(paid.clone())), "支付成功"),
        ("Q2", TradeState::Refund(Box::new(paid.clone())), "订单发生过退款，退款详情请查询退款单"),
        ("Q3", TradeState::NotPay, "订单未支付"),
        ("Q4", TradeState::Closed, "订单已关闭"),
        ("Q5", TradeState::Revoked, "订单已撤销"),
        ("Q6", TradeState::UserPaying, "需要用户输入支付密码"),
        ("Q7", TradeState::PayError, "支付失败，请重新下单支付"),
        ("Q8", TradeState::Accept, "已接收，等待扣款"),
    ] {
        let outcome = query(&samples::body(id), SignType::Md5);
        assert_eq!(outcome, status(trade_state, text), "{id}");
    }
    let with_coupons = coupons(Payment { bank_type: Some("CMB_DEBIT".to_owned()), ..payment() });
    assert_eq!(
        query(&samples::body("Q11"), SignType::HmacSha256),
        status(TradeState::Success(Box::new(with_coupons)), "支付成功")
    );
    for (id, err_code, text) in
        [("Q9", "ORDERNOTEXIST", "order not exist"), ("Q10", "SYSTEMERROR", "system error")]
    {
        let outcome = query(&samples::body(id), SignType::Md5);
        assert_eq!(outcome, refused(err_code, text, Advice::Retry), "{id}");
    }
}

#[test]
fn new_trade_state_is_other_and_incomplete_one_unknown() {
    let with = |id, name, text: &str| {
        let mut fields = samples::fields(id);
        fields.insert(name, text);
        query(&xml(signed(fields, SignType::Md5)), SignType::Md5)
    };
    let CallOutcome::Success(status) = with("Q3", "trade_state", "SOMETHING_NEW") else {
        panic!("an unknown state is still an answer");
    };
    assert_eq!(status.trade_state, TradeState::Other("SOMETHING_NEW".to_owned()));
    for (id, name, text) in [
        ("Q3", "trade_state", ""),
        ("Q1", "transaction_id", ""),
        ("Q1", "total_fee", "99.00"),
        ("Q2", "time_end", "20260721183160"),
    ] {
        let CallOutcome::Unknown(Unknown::Field(error)) = with(id, name, text) else {
            panic!("{id} with {name} {text:?}");
        };
        assert_eq!(error.field, name);
    }
}

#[test]
fn closeorder_reads_success_and_refusal() {
    assert_eq!(close(&samples::body("C2"), SignType::Md5), CallOutcome::Success(()));
    assert_eq!(
        close(&samples::body("C3"), SignType::Md5),
        refused("ORDERPAID", "order paid", Advice::Query)
    );
}

/// The table below "Error codes" in PROTOCOL.md. Its last row stands for a new and for an empty code.
fn advice_table() -> Vec<(String, [Advice; 3])> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("PROTOCOL.md");
    let page = fs::read_to_string(path).unwrap();
    let (_, section) = page.split_once("## Error codes").unwrap();
    let lines = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let mut table = Vec::new();
    for line in lines.take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [err_code, unifiedorder, orderquery, closeorder] = cells[..] else {
            panic!("four columns: {line}");
        };
        let advices = [unifiedorder, orderquery, closeorder].map(advice_named);
        if err_code == "any other" {
            table.extend(["SOMETHING_NEW", ""].map(|code| (code.to_owned(), advices)));
        } else {
            table.push((err_code.trim_matches('`').to_owned(), advices));
        }
    }
    table
}

fn advice_named(name: &str) -> Advice {
    use Advice::{AlreadyDone, FixRequest, NumberUnusable, Query, Retry};
    let all = [AlreadyDone, FixRequest, NumberUnusable, Query, Retry];
    all.into_iter().find(|advice| format!("{advice:?}") == name).unwrap()
}

#[test]
fn each_err_code_has_the_advice_of_protocol_md() {
    let by = credentials(SignType::Md5);
    let rows = advice_table();
    assert_eq!(rows.len(), 24);
    for (err_code, advices) in rows {
        let mut fields = samples::fields("E1");
        fields.insert("err_code", &*err_code);
        let body = xml(signed(fields, SignType::Md5));
        let expected = advices.map(|advice| refused(&err_code, "该订单已支付", advice));
        assert_eq!(outcomes(&body, &by), expected, "{err_code}");
    }
}

#[test]
fn long_return_msg_is_cut_to_128_characters() {
    let mut fields = samples::fields("E5");
    fields.insert("return_msg", "错".repeat(129));
    let by = credentials(SignType::Md5);
    for outcome in outcomes(&xml(fields), &by) {
        let CallOutcome::Unknown(Unknown::Communication { return_msg }) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(return_msg, "错".repeat(128));
    }
}
