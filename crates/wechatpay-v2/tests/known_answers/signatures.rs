use wechatpay_v2::payment_notification::{NotificationError, Received};
use wechatpay_v2::{Fields, Limits, SignType, SignatureError, XmlError, parse_xml, sign, verify};

use crate::samples::{self, key, other_key};

fn signed_samples() -> Vec<(String, SignType, Fields)> {
    let signed = samples::all().into_values().filter_map(|sample| {
        let sign_type = match sample.check.as_str() {
            "md5" => SignType::Md5,
            "hmac" => SignType::HmacSha256,
            _ => return None,
        };
        let fields = samples::fields(&sample.id);
        Some((sample.id, sign_type, fields))
    });
    signed.collect()
}

#[test]
fn signed_samples_verify_and_sign_the_same_again() {
    let samples = signed_samples();
    assert_eq!(samples.len(), 44);
    for (id, sign_type, fields) in samples {
        assert_eq!(verify(&fields, &key()), Ok(sign_type), "{id}");
        let again = sign(&fields, &key(), sign_type);
        assert_eq!(Some(again.as_str()), fields.get("sign"), "{id}");
        assert_eq!(verify(&fields, &other_key()), Err(SignatureError::Wrong), "{id}");
    }
}

#[test]
fn changed_samples_do_not_verify() {
    for (id, _, fields) in signed_samples() {
        for (name, text) in fields.iter() {
            let mut changed = fields.clone();
            changed.insert(name, format!("{text}x"));
            let error = verify(&changed, &key()).unwrap_err();
            if !matches!(name, "sign" | "sign_type") {
                assert_eq!(error, SignatureError::Wrong, "{id}: {name} changed");
            }

            changed.remove(name);
            let outcome = verify(&changed, &key());
            match name {
                "sign" => assert_eq!(outcome, Err(SignatureError::Missing), "{id}"),
                // An empty element and an absent one mean the same.
                _ if text.is_empty() => assert!(outcome.is_ok(), "{id}: {name} removed"),
                _ => assert_eq!(outcome, Err(SignatureError::Wrong), "{id}: {name} removed"),
            }
        }
        let mut changed = fields.clone();
        changed.insert("future_field_y", "1");
        assert_eq!(verify(&changed, &key()), Err(SignatureError::Wrong), "{id}");
    }
}

#[test]
fn sign_of_another_form_is_refused() {
    let fields = samples::fields("N1");
    let right = fields.get("sign").unwrap().to_owned();
    let with = |sign: &str| {
        let mut fields = fields.clone();
        fields.insert("sign", sign);
        verify(&fields, &key())
    };
    for blank in ["", " ", "\n\t"] {
        assert_eq!(with(blank), Err(SignatureError::Missing));
    }
    for form in [
        &right[1..],
        &format!("{right}0"),
        &format!("{}G", &right[1..]),
        &format!("{} ", right.repeat(2)).replace('C', "Z"),
        &"é".repeat(16),
        &format!("0x{}", &right[2..]),
    ] {
        assert_eq!(with(form), Err(SignatureError::Form), "{form}");
    }
    assert_eq!(with(&"0".repeat(32)), Err(SignatureError::Wrong));
    assert_eq!(with(&right.repeat(2)), Err(SignatureError::Wrong));
    assert_eq!(with(&right.to_ascii_lowercase()), Ok(SignType::Md5));
    assert_eq!(with(&format!(" {right}\n")), Ok(SignType::Md5));
}

#[test]
fn sign_type_that_contradicts_the_sign_is_refused() {
    for (named, actual) in [
        ("MD5", SignType::HmacSha256),
        ("HMAC-SHA256", SignType::Md5),
        ("SHA1", SignType::Md5),
        ("md5", SignType::Md5),
    ] {
        let mut fields = samples::fields("N1");
        fields.insert("sign_type", named);
        let fields = samples::signed(fields, actual);
        assert_eq!(verify(&fields, &key()), Err(SignatureError::Form), "{named}");
    }
    let mut fields = samples::fields("N1");
    fields.insert("sign_type", "");
    assert_eq!(verify(&fields, &key()), Ok(SignType::Md5));
}

#[test]
fn only_the_lower_case_sign_element_is_unsigned() {
    for name in ["Sign", "SIGN", "key", "KEY"] {
        let mut fields = samples::fields("N1");
        fields.insert(name, "192006250B4C09247EC02EDCE69F6A2D");
        assert_eq!(verify(&fields, &key()), Err(SignatureError::Wrong));
        let fields = samples::signed(fields, SignType::Md5);
        assert_eq!(verify(&fields, &key()), Ok(SignType::Md5));
    }
}

#[test]
fn unsigned_samples_hold_no_sign() {
    let mut seen = 0;
    for sample in samples::all().into_values() {
        if sample.check != "unsigned" {
            continue;
        }
        seen += 1;
        let parsed = parse_xml(&sample.body, Limits::MESSAGE);
        match sample.extension.as_str() {
            "xml" => {
                let fields = parsed.unwrap();
                assert!(!fields.contains("sign"), "{}", sample.id);
                let outcome = verify(&fields, &key());
                assert_eq!(outcome, Err(SignatureError::Missing), "{}", sample.id);
            }
            "html" => assert_eq!(parsed, Err(XmlError::Root("xml")), "{}", sample.id),
            _ => assert_eq!(parsed, Err(XmlError::Malformed), "{}", sample.id),
        }
    }
    assert_eq!(seen, 13);
}

#[test]
fn hostile_samples_are_refused_with_their_reason() {
    let forged = Received::parse(&samples::body("N10")).unwrap();
    assert_eq!(
        forged.verify([&key()]).unwrap_err(),
        NotificationError::Signature(SignatureError::Wrong)
    );
    for (id, reason) in [("N14", XmlError::Doctype), ("N15", XmlError::Repeated)] {
        assert_eq!(
            Received::parse(&samples::body(id)).unwrap_err(),
            NotificationError::Xml(reason)
        );
    }
}

/// Splits a string to sign at each `&name=`. The signature is the same wherever it is split.
fn fields_of(string: &str) -> Fields {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for piece in string.split('&') {
        let name = piece.split_once('=').map(|(name, _)| name);
        let is_name = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match (name.filter(is_name), pairs.last_mut()) {
            (None, Some((_, text))) => text.extend(["&", piece]),
            _ => {
                let (name, text) = piece.split_once('=').unwrap();
                pairs.push((name.to_owned(), text.to_owned()));
            }
        }
    }
    // In reverse, because the order of insertion must not matter.
    pairs.into_iter().rev().collect()
}

#[test]
fn vectors_verify_and_typical_mistakes_do_not() {
    for vector in samples::vectors() {
        let mut fields = fields_of(&vector.string);
        fields.insert("an_empty_element", "");
        fields.insert("sign", "an earlier signature");
        let signature = sign(&fields, &vector.key, vector.sign_type);
        assert_eq!(signature, vector.sign, "{}", vector.name);

        fields.insert("sign", signature);
        assert_eq!(verify(&fields, &vector.key), Ok(vector.sign_type), "{}", vector.name);
        for mistake in vector.mistakes {
            fields.insert("sign", mistake);
            let outcome = verify(&fields, &vector.key);
            assert_eq!(outcome, Err(SignatureError::Wrong), "{}", vector.name);
        }
    }
}

#[test]
fn qr_payload_of_native_mode_1_verifies() {
    let text = String::from_utf8(samples::body("NA3")).unwrap();
    let (_, query) = text.split_once('?').unwrap();
    assert_eq!(verify(&fields_of(query), &key()), Ok(SignType::Md5));
}
