use wechatpay_v2::refund_notification::{Received, RefundError};
use wechatpay_v2::{Fields, XmlError, write_xml};

use crate::samples::{self, key, other_key};

fn decrypt(fields: &Fields) -> Result<Fields, RefundError> {
    Received::parse(write_xml(fields).as_bytes()).unwrap().decrypt(&key())
}

#[test]
fn refund_samples_decrypt_to_their_fields() {
    let samples = samples::all();
    let refunds: Vec<_> = samples.values().filter(|s| s.check == "refund").collect();
    assert_eq!(refunds.len(), 2);
    for refund in refunds {
        let received = Received::parse(&refund.body).unwrap();
        assert_eq!(received.mch_id(), Some("1699000001"));
        let fields = received.decrypt(&key()).unwrap();
        let plain = &samples[&format!("{}-plain", refund.id)].body;
        let plain = String::from_utf8(plain.clone()).unwrap();
        // One `<name><![CDATA[text]]></name>` per line.
        let mut lines = 0;
        for line in plain.lines().filter(|line| !line.contains("root>")) {
            let (name, rest) = line[1..].split_once('>').unwrap();
            let (text, _) = rest["<![CDATA[".len()..].split_once("]]>").unwrap();
            assert!(fields.contains(name), "{name}");
            assert_eq!(fields.get(name).unwrap_or_default(), text, "{name}");
            lines += 1;
        }
        assert_eq!(fields.len(), lines);
    }
    let change = Received::parse(&samples["RN2"].body).unwrap();
    let change = change.decrypt(&key()).unwrap();
    assert_eq!(change.get("refund_status"), Some("CHANGE"));
    assert_eq!(change.get("success_time"), None);
}

#[test]
fn base64_with_line_breaks_is_decrypted() {
    let mut fields = samples::fields("RN1");
    let expected = decrypt(&fields).unwrap();
    let req_info = fields.get("req_info").unwrap();
    let lines: Vec<_> = req_info.as_bytes().chunks(76).collect();
    let lines = lines.join(&b"\r\n"[..]);
    fields.insert("req_info", String::from_utf8(lines).unwrap());
    assert_eq!(decrypt(&fields).unwrap(), expected);
}

#[test]
fn req_info_that_does_not_decrypt_is_refused() {
    let received = Received::parse(&samples::body("RN1")).unwrap();
    assert!(received.decrypt(&other_key()).is_err());

    let original = samples::fields("RN1");
    let req_info = original.get("req_info").unwrap();
    let without_last_block = &req_info[..req_info.len() - 64];
    for wrong in
        ["", "AAAA", "not base64!", &req_info[1..], without_last_block, "AAAAAAAAAAAAAAAAAAAAAA=="]
    {
        let mut fields = original.clone();
        fields.insert("req_info", wrong);
        assert_eq!(decrypt(&fields), Err(RefundError::Undecryptable), "{wrong}");
    }

    // Dropped blocks go unnoticed unless the document breaks. That is why a refund must be confirmed
    // by a query.
    let mut fields = original.clone();
    fields.insert("req_info", &req_info[64..]);
    assert!(matches!(
        decrypt(&fields),
        Err(RefundError::Xml(XmlError::NotUtf8 | XmlError::Malformed))
    ));
}

#[test]
fn refund_notification_without_success_is_refused() {
    assert_eq!(Received::parse(&samples::body("N8")).unwrap_err(), RefundError::ReturnCode);
    assert_eq!(
        Received::parse(&samples::body("N14")).unwrap_err(),
        RefundError::Xml(XmlError::Doctype)
    );
    assert_eq!(decrypt(&samples::fields("N1")), Err(RefundError::Undecryptable));
}
