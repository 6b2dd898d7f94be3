//! An answer to a call decides something only when it is signed with the call's algorithm and is
//! about the order of the call.

#![no_main]

use fuzz::{APPID, MCH_ID, OUT_TRADE_NO, SIGN_TYPES, credentials, is_a_sample, signed, split};
use libfuzzer_sys::fuzz_target;
use wechatpay_v2::orderquery::{OrderQuery, OrderStatus, TradeState};
use wechatpay_v2::{
    AppId, CallOutcome, Credentials, Fields, Limits, OutTradeNo, Unknown, closeorder, orderquery,
    parse_xml, unifiedorder, write_xml,
};

fuzz_target!(|input: &[u8]| {
    let (message, mut choices) = split(input);
    let parsed = parse_xml(message, Limits::MESSAGE);
    for sign_type in SIGN_TYPES {
        let outcomes = read_as_each_call(message, &credentials(sign_type));
        if outcomes.iter().any(|outcome| *outcome != Outcome::Unknown) {
            let fields = parsed.as_ref().expect("a decided answer is a message");
            assert!(is_a_sample(fields), "a forgery");
        }
    }

    // The same fields as an authentic answer of the gateway.
    let Ok(mut fields) = parsed else { return };
    fields.insert("return_code", "SUCCESS");
    fields.insert("mch_id", MCH_ID);
    let sign_type = SIGN_TYPES[choices.below(2)];
    let fields = signed(fields, sign_type);
    let body = write_xml(&fields);
    let by = credentials(sign_type);
    let outcomes = read_as_each_call(body.as_bytes(), &by);
    let result_code = fields.get("result_code").map(str::trim_ascii);
    for outcome in outcomes {
        match outcome {
            Outcome::Success => assert_eq!(result_code, Some("SUCCESS")),
            Outcome::Refused => assert_eq!(result_code, Some("FAIL")),
            Outcome::Unknown => {}
        }
    }
    let other = SIGN_TYPES.into_iter().find(|other| *other != sign_type).unwrap_or_default();
    let other_algorithm = closeorder::read(body.as_bytes(), &credentials(other));
    // The wrong algorithm, or too large for the limits after escaping and signing.
    assert!(matches!(
        other_algorithm,
        CallOutcome::Unknown(Unknown::SignTypeMismatch | Unknown::Xml(_))
    ));
});

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Success,
    Refused,
    Unknown,
}

/// Reads the body as the answer to each of the three calls.
fn read_as_each_call(body: &[u8], by: &Credentials) -> [Outcome; 3] {
    let appid = AppId::parse(APPID).expect("the samples' app");
    let out_trade_no = OutTradeNo::parse(OUT_TRADE_NO).expect("the samples' order");
    let query = OrderQuery { appid, out_trade_no, sub_mch_id: None, sub_appid: None };
    let sent: Fields =
        [("appid", query.appid.as_str()), ("trade_type", "JSAPI")].into_iter().collect();
    let prepay = check_outcome(unifiedorder::read(body, by, &sent), |prepay| {
        assert!((1..=64).contains(&prepay.prepay_id.as_str().len()));
    });
    let found = check_outcome(
        orderquery::read(body, by, &query),
        |OrderStatus { trade_state, trade_state_desc }| {
            assert!(trade_state_desc.chars().count() <= 256);
            match trade_state {
                TradeState::Success(payment) | TradeState::Refund(payment) => {
                    assert_eq!(payment.out_trade_no, query.out_trade_no);
                }
                TradeState::Other(name) => assert!(name.chars().count() <= 32),
                _ => {}
            }
        },
    );
    [prepay, found, check_outcome(closeorder::read(body, by), |()| ())]
}

fn check_outcome<T>(outcome: CallOutcome<T>, check: impl FnOnce(T)) -> Outcome {
    match outcome {
        CallOutcome::Success(value) => {
            check(value);
            Outcome::Success
        }
        CallOutcome::Refused(refused) => {
            assert!(refused.err_code.chars().count() <= 128);
            assert!(refused.err_code_des.chars().count() <= 128);
            Outcome::Refused
        }
        CallOutcome::Unknown(unknown) => {
            assert!(unknown.to_string().chars().count() <= 256, "short enough for a log");
            Outcome::Unknown
        }
    }
}
