//! From posted bytes to a payment: an unsigned or altered message is refused, a payment has the
//! message's values, and no other reading of the string to sign changes the payment.

#![no_main]

use fuzz::{Choices, SIGN_TYPES, is_a_sample, key, other_key, signed, split};
use libfuzzer_sys::fuzz_target;
use wechatpay_v2::payment_notification::Received;
use wechatpay_v2::{Fields, Limits, Payment, parse_xml, write_xml};

fuzz_target!(|input: &[u8]| {
    let (message, mut choices) = split(input);
    let Ok(mut fields) = parse_xml(message, Limits::MESSAGE) else {
        assert!(Received::parse(message).is_err());
        return;
    };
    if let Ok(received) = Received::parse(message)
        && received.verify([&other_key(), &key()]).is_ok()
    {
        assert!(is_a_sample(&fields), "a forgery");
    }

    // The same fields as an authentic notification.
    fields.insert("return_code", "SUCCESS");
    fields.insert("result_code", "SUCCESS");
    let sign_type = SIGN_TYPES[choices.below(2)];
    let fields = signed(fields, sign_type);
    let Some(payment) = payment(&fields) else {
        return;
    };
    assert_eq!(Some(payment.total_fee.to_string().as_str()), fields_digits(&fields));
    assert_eq!(Some(payment.transaction_id.as_str()), trimmed(&fields, "transaction_id"));
    assert_eq!(Some(payment.out_trade_no.as_str()), trimmed(&fields, "out_trade_no"));
    assert_eq!(Some(payment.mch_id.as_str()), trimmed(&fields, "mch_id"));
    assert_eq!(Some(payment.time_end.to_string().as_str()), trimmed(&fields, "time_end"));
    let json = serde_json::to_vec(&payment).expect("a payment serializes");
    let read: Payment = serde_json::from_slice(&json).expect("a payment deserializes");
    assert_eq!(read, payment);

    // An attacker without the key can regroup the string to sign.
    let rewritten = regrouped(&fields, &mut choices);
    if let Some(other) = self::payment(&rewritten) {
        assert_eq!(compared_fields(&other), compared_fields(&payment), "{rewritten:?}");
    }
});

fn payment(fields: &Fields) -> Option<Payment> {
    let received = Received::parse(write_xml(fields).as_bytes()).ok()?;
    received.verify([&key()]).ok()?.payment().ok()
}

fn trimmed<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name).map(str::trim_ascii)
}

/// `total_fee` without leading zeros.
fn fields_digits(fields: &Fields) -> Option<&str> {
    let digits = trimmed(fields, "total_fee")?;
    let significant = digits.trim_start_matches('0');
    Some(if significant.is_empty() { "0" } else { significant })
}

/// The fields that are compared with the order.
fn compared_fields(payment: &Payment) -> [String; 7] {
    [
        payment.appid.to_string(),
        payment.mch_id.to_string(),
        payment.out_trade_no.to_string(),
        payment.transaction_id.to_string(),
        payment.total_fee.to_string(),
        payment.fee_type.clone(),
        payment.time_end.to_string(),
    ]
}

/// The same string to sign, split into other elements.
fn regrouped(fields: &Fields, choices: &mut Choices<'_>) -> Fields {
    let signed = fields.iter().filter(|(name, text)| *name != "sign" && !text.is_empty());
    let pieces: Vec<_> = signed.map(|(name, text)| format!("{name}={text}")).collect();
    let mut regrouped = Fields::new();
    let mut name = "";
    let mut text = String::new();
    let string = pieces.join("&");
    for piece in string.split('&') {
        // Elements are sorted by name, each once.
        match piece.split_once('=') {
            Some((next, rest)) if next > name && choices.next_is_even() => {
                regrouped.insert(name, std::mem::replace(&mut text, rest.to_owned()));
                name = next;
            }
            _ => text.extend(["&", piece]),
        }
    }
    regrouped.insert(name, text);
    regrouped.remove("");
    regrouped.insert("sign", fields.get("sign").unwrap_or_default());
    regrouped
}
