//! An answer to a call means something only when it is signed with the call's algorithm and about
//! what was asked.

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
        let said = ask(message, &credentials(sign_type));
        if said.iter().any(|said| *said != Said::Nothing) {
            let fields = parsed.as_ref().expect("what says something is a message");
            assert!(is_a_sample(fields), "a forgery");
        }
    }

    // As if the gateway had said it.
    let Ok(mut fields) = parsed else { return };
    fields.insert("return_code", "SUCCESS");
    fields.insert("mch_id", MCH_ID);
    let sign_type = SIGN_TYPES[choices.below(2)];
    let fields = signed(fields, sign_type);
    let body = write_xml(&fields);
    let by = credentials(sign_type);
    let said = ask(body.as_bytes(), &by);
    let result_code = fields.get("result_code").map(str::trim_ascii);
    for said in said {
        match said {
            Said::Yes => assert_eq!(result_code, Some("SUCCESS")),
            Said::No => assert_eq!(result_code, Some("FAIL")),
            Said::Nothing => {}
        }
    }
    let other = SIGN_TYPES.into_iter().find(|other| *other != sign_type).unwrap_or_default();
    let other_algorithm = closeorder::read(body.as_bytes(), &credentials(other));
    // Too large for the limits, once it is escaped and signed, or the wrong algorithm.
    assert!(matches!(
        other_algorithm,
        CallOutcome::Unknown(Unknown::SignTypeMismatch | Unknown::Xml(_))
    ));
});

#[derive(Clone, Copy, PartialEq)]
enum Said {
    Yes,
    No,
    Nothing,
}

/// The body as the answer to each call.
fn ask(body: &[u8], by: &Credentials) -> [Said; 3] {
    let appid = AppId::parse(APPID).expect("the samples' app");
    let out_trade_no = OutTradeNo::parse(OUT_TRADE_NO).expect("the samples' order");
    let asked = OrderQuery { appid, out_trade_no, sub_mch_id: None, sub_appid: None };
    let sent: Fields =
        [("appid", asked.appid.as_str()), ("trade_type", "JSAPI")].into_iter().collect();
    let prepay = said(unifiedorder::read(body, by, &sent), |prepay| {
        assert!((1..=64).contains(&prepay.prepay_id.as_str().len()));
    });
    let found = said(
        orderquery::read(body, by, &asked),
        |OrderStatus { trade_state, trade_state_desc }| {
            assert!(trade_state_desc.chars().count() <= 256);
            match trade_state {
                TradeState::Success(payment) | TradeState::Refund(payment) => {
                    assert_eq!(payment.out_trade_no, asked.out_trade_no);
                }
                TradeState::Other(name) => assert!(name.chars().count() <= 32),
                _ => {}
            }
        },
    );
    [prepay, found, said(closeorder::read(body, by), |()| ())]
}

fn said<T>(verdict: CallOutcome<T>, check: impl FnOnce(T)) -> Said {
    match verdict {
        CallOutcome::Success(value) => {
            check(value);
            Said::Yes
        }
        CallOutcome::Refused(refused) => {
            assert!(refused.err_code.chars().count() <= 128);
            assert!(refused.err_code_des.chars().count() <= 128);
            Said::No
        }
        CallOutcome::Unknown(unknown) => {
            assert!(unknown.to_string().chars().count() <= 256, "fit for a log");
            Said::Nothing
        }
    }
}
