use wechatpay_v2::closeorder;
use wechatpay_v2::orderquery::{self, OrderQuery, OrderStatus, TradeState};
use wechatpay_v2::unifiedorder::{self, Prepay, TradeType, UnifiedOrder};
use wechatpay_v2::{Advice, Credentials, Fields, MchId, PrepayId, SignType, SignatureError};
use wechatpay_v2::{CallOutcome, OutTradeNo, Refused, Unknown, XmlError, write_xml};

use crate::notifications::{coupons, payment};
use crate::requests::{appid, order, out_trade_no};
use crate::samples::{self, credentials, other_key, signed};

fn create(body: &[u8], sign_type: SignType, trade_type: TradeType) -> CallOutcome<Prepay> {
    let parameters = UnifiedOrder { trade_type, ..order() }.parameters();
    unifiedorder::read(body, &credentials(sign_type), &parameters)
}

fn query(body: &[u8], sign_type: SignType) -> CallOutcome<OrderStatus> {
    let query = OrderQuery {
        appid: appid(),
        out_trade_no: out_trade_no(),
        sub_mch_id: None,
        sub_appid: None,
    };
    orderquery::read(body, &credentials(sign_type), &query)
}

fn close(body: &[u8], sign_type: SignType) -> CallOutcome<()> {
    closeorder::read(body, &credentials(sign_type))
}

/// The verdicts of all three calls on the same answer, without what a success holds.
fn verdicts(body: &[u8], by: &Credentials) -> [CallOutcome<()>; 3] {
    fn plain<T>(verdict: CallOutcome<T>) -> CallOutcome<()> {
        match verdict {
            CallOutcome::Success(_) => CallOutcome::Success(()),
            CallOutcome::Refused(refused) => CallOutcome::Refused(refused),
            CallOutcome::Unknown(unknown) => CallOutcome::Unknown(unknown),
        }
    }
    let query = OrderQuery {
        appid: appid(),
        out_trade_no: out_trade_no(),
        sub_mch_id: None,
        sub_appid: None,
    };
    [
        plain(unifiedorder::read(body, by, &order().parameters())),
        plain(orderquery::read(body, by, &query)),
        plain(closeorder::read(body, by)),
    ]
}

fn no<T>(err_code: &str, err_code_des: &str, advice: Advice) -> CallOutcome<T> {
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
fn unifiedorder_reads_what_was_issued() {
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
        let verdict = create(&samples::body(id), sign_type, trade_type);
        assert_eq!(verdict, CallOutcome::Success(prepay), "{id}");
    }
}

#[test]
fn unifiedorder_reads_refusals() {
    for (id, err_code, text, advice) in [
        ("E1", "ORDERPAID", "该订单已支付", Advice::Query),
        ("E2", "INVALID_REQUEST", "201 商户订单号重复", Advice::Query),
        ("E3", "SYSTEMERROR", "系统繁忙，请稍后再试", Advice::Retry),
        ("E4", "ORDERCLOSED", "该订单已关闭", Advice::NumberUnusable),
    ] {
        let verdict = create(&samples::body(id), SignType::Md5, TradeType::Jsapi);
        assert_eq!(verdict, no(err_code, text, advice), "{id}");
    }
}

#[test]
fn communication_failures_are_unknown_to_every_call() {
    let by = credentials(SignType::Md5);
    for (id, text) in [
        ("E5", "签名错误"),
        ("E6", "XML格式错误"),
        ("E7", "time_expire时间过短，刷卡至少1分钟，其他5分钟"),
        ("E8", "system busy"),
    ] {
        let unknown = Unknown::Communication { return_msg: text.to_owned() };
        for verdict in verdicts(&samples::body(id), &by) {
            assert_eq!(verdict, CallOutcome::Unknown(unknown.clone()), "{id}");
        }
    }
    for (body, reason) in [
        (samples::body("E9"), XmlError::Root("xml")),
        (Vec::new(), XmlError::Malformed),
        (b"SUCCESS".to_vec(), XmlError::Malformed),
        (vec![b' '; 65 * 1024], XmlError::TooLarge(64 * 1024)),
    ] {
        for verdict in verdicts(&body, &by) {
            assert_eq!(verdict, CallOutcome::Unknown(Unknown::Xml(reason.clone())));
        }
    }
}

#[test]
fn an_answer_that_is_not_authentic_is_unknown_to_every_call() {
    let by = credentials(SignType::Md5);
    let success = samples::fields("C2");
    let without = |name: &str| {
        let mut fields = success.clone();
        fields.remove(name);
        fields
    };
    let stranger = Credentials { mch_id: MchId::parse("1699000002").unwrap(), ..by.clone() };
    let other_key = Credentials { key: other_key(), ..by.clone() };
    let hmac = credentials(SignType::HmacSha256);
    let no_text = Unknown::Communication { return_msg: "OK".to_owned() };
    for (fields, by, reason) in [
        (success.clone(), &other_key, Unknown::Signature(SignatureError::Wrong)),
        (without("sign"), &by, Unknown::Signature(SignatureError::Missing)),
        (without("return_code"), &by, no_text),
        (success.clone(), &hmac, Unknown::SignTypeMismatch),
        (success.clone(), &stranger, Unknown::Mismatch("mch_id")),
        (signed(without("mch_id"), SignType::Md5), &by, Unknown::Mismatch("mch_id")),
    ] {
        for verdict in verdicts(&xml(fields.clone()), by) {
            assert_eq!(verdict, CallOutcome::Unknown(reason.clone()));
        }
    }
    for verdict in verdicts(&xml(signed(without("result_code"), SignType::Md5)), &by) {
        let CallOutcome::Unknown(Unknown::Field(error)) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(error.field, "result_code");
    }
}

#[test]
fn an_answer_about_something_else_is_unknown() {
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
    let query = OrderQuery {
        appid: appid(),
        out_trade_no: OutTradeNo::parse("SO20260721A0002").unwrap(),
        sub_mch_id: None,
        sub_appid: None,
    };
    assert_eq!(
        orderquery::read(&samples::body("Q1"), &credentials(SignType::Md5), &query),
        CallOutcome::Unknown(Unknown::Mismatch("out_trade_no"))
    );
}

#[test]
fn what_was_issued_must_be_complete() {
    let reading = |id, name: &'static str, text: &str, trade_type| {
        let mut fields = samples::fields(id);
        fields.insert(name, text);
        let body = xml(signed(fields, SignType::Md5));
        match create(&body, SignType::Md5, trade_type) {
            CallOutcome::Unknown(Unknown::Field(error)) => assert_eq!(error.field, name),
            other => panic!("{id} with {name} {text:?}: {other:?}"),
        }
    };
    let long = format!("weixin://{}", "x".repeat(504));
    reading("U3", "prepay_id", "", TradeType::Jsapi);
    reading("U3", "prepay_id", "wx 21", TradeType::Jsapi);
    reading("U3", "prepay_id", &"x".repeat(65), TradeType::Jsapi);
    reading("U5", "code_url", "", TradeType::Native);
    reading("U5", "code_url", &long, TradeType::Native);
    reading("U6", "mweb_url", "", TradeType::Mweb);
}

#[test]
fn orderquery_reads_every_state() {
    let found = |trade_state, text: &str| {
        CallOutcome::Success(OrderStatus { trade_state, trade_state_desc: text.to_owned() })
    };
    let paid = wechatpay_v2::Payment { bank_type: Some("CMB_DEBIT".to_owned()), ..payment() };
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
        let verdict = query(&samples::body(id), SignType::Md5);
        assert_eq!(verdict, found(trade_state, text), "{id}");
    }
    let with_coupons =
        coupons(wechatpay_v2::Payment { bank_type: Some("CMB_DEBIT".to_owned()), ..payment() });
    assert_eq!(
        query(&samples::body("Q11"), SignType::HmacSha256),
        found(TradeState::Success(Box::new(with_coupons)), "支付成功")
    );
    for (id, err_code, text) in
        [("Q9", "ORDERNOTEXIST", "order not exist"), ("Q10", "SYSTEMERROR", "system error")]
    {
        let verdict = query(&samples::body(id), SignType::Md5);
        assert_eq!(verdict, no(err_code, text, Advice::Retry), "{id}");
    }
}

#[test]
fn a_state_that_is_new_or_incomplete_proves_nothing() {
    let with = |id, name, text: &str| {
        let mut fields = samples::fields(id);
        fields.insert(name, text);
        query(&xml(signed(fields, SignType::Md5)), SignType::Md5)
    };
    let CallOutcome::Success(found) = with("Q3", "trade_state", "SOMETHING_NEW") else {
        panic!("an unknown state is still an answer");
    };
    assert_eq!(found.trade_state, TradeState::Other("SOMETHING_NEW".to_owned()));
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
fn closeorder_reads_its_answers() {
    assert_eq!(close(&samples::body("C2"), SignType::Md5), CallOutcome::Success(()));
    assert_eq!(
        close(&samples::body("C3"), SignType::Md5),
        no("ORDERPAID", "order paid", Advice::Query)
    );
}

#[test]
fn each_call_has_its_table_of_refusals() {
    use Advice::{AlreadyDone, FixRequest, NumberUnusable, Query, Retry};
    let by = credentials(SignType::Md5);
    for (err_code, advices) in [
        ("SYSTEMERROR", [Retry, Retry, Retry]),
        ("FREQUENCY_LIMITED", [Retry, Retry, Retry]),
        ("RATELIMIT_EXCEEDED", [Retry, Retry, Retry]),
        ("ORDERPAID", [Query, Retry, Query]),
        ("ORDERCLOSED", [NumberUnusable, Retry, AlreadyDone]),
        ("ORDERNOTEXIST", [Query, Retry, Query]),
        ("OUT_TRADE_NO_USED", [Query, Retry, Query]),
        ("INVALID_REQUEST", [Query, Retry, Query]),
        ("NOTENOUGH", [Query, Retry, Query]),
        ("TRADE_STATE_ERROR", [Query, Retry, Query]),
        ("INVALID_TRANSACTIONID", [Query, FixRequest, Query]),
        ("SOMETHING_NEW", [Query, Retry, Query]),
        ("", [Query, Retry, Query]),
        ("NOAUTH", [FixRequest; 3]),
        ("APPID_NOT_EXIST", [FixRequest; 3]),
        ("MCHID_NOT_EXIST", [FixRequest; 3]),
        ("APPID_MCHID_NOT_MATCH", [FixRequest; 3]),
        ("LACK_PARAMS", [FixRequest; 3]),
        ("PARAM_ERROR", [FixRequest; 3]),
        ("SIGNERROR", [FixRequest; 3]),
        ("XML_FORMAT_ERROR", [FixRequest; 3]),
        ("REQUIRE_POST_METHOD", [FixRequest; 3]),
        ("POST_DATA_EMPTY", [FixRequest; 3]),
        ("NOT_UTF8", [FixRequest; 3]),
    ] {
        let mut fields = samples::fields("E1");
        fields.insert("err_code", err_code);
        let body = xml(signed(fields, SignType::Md5));
        let expected = advices.map(|advice| no(err_code, "该订单已支付", advice));
        assert_eq!(verdicts(&body, &by), expected, "{err_code}");
    }
}

#[test]
fn long_texts_of_an_answer_are_cut() {
    let mut fields = samples::fields("E5");
    fields.insert("return_msg", "错".repeat(129));
    let by = credentials(SignType::Md5);
    for verdict in verdicts(&xml(fields), &by) {
        let CallOutcome::Unknown(Unknown::Communication { return_msg }) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(return_msg, "错".repeat(128));
    }
}
