//! A message in the form in which WeChat writes it.

use wechatpay_v2::{ApiKey, Fields, SignType, sign};

/// Elements in the order in which they are written; texts in CDATA, amounts without.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Message(Vec<(String, String)>);

impl Message {
    /// A communication failure, which is never signed.
    pub(crate) fn failure(return_msg: &str) -> Self {
        let mut message = Self::default();
        message.set("return_code", "FAIL");
        message.set("return_msg", return_msg);
        message
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, text)| &**text)
    }

    /// Replaces the element where it stands, or adds it at the end.
    pub(crate) fn set(&mut self, name: impl Into<String>, text: impl ToString) {
        let name = name.into();
        let text = text.to_string();
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = text,
            None => self.0.push((name, text)),
        }
    }

    /// Copies elements that the request had, empty ones left out.
    pub(crate) fn echo(&mut self, from: &Fields, names: &[&str]) {
        for name in names {
            if let Some(text) = from.get(name) {
                self.set(*name, text);
            }
        }
    }

    pub(crate) fn extend<N: Into<String>>(&mut self, more: impl IntoIterator<Item = (N, String)>) {
        for (name, text) in more {
            self.set(name, text);
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name);
    }

    pub(crate) fn signature(&self, key: &ApiKey, sign_type: SignType) -> String {
        let fields: Fields = self.0.iter().cloned().collect();
        sign(&fields, key, sign_type)
    }

    pub(crate) fn into_elements(self) -> Vec<(String, String)> {
        self.0
    }

    pub(crate) fn to_xml(&self) -> String {
        let mut xml = String::from("<xml>");
        for (name, text) in &self.0 {
            xml.push_str(&write_element(name, text));
            xml.push('\n');
        }
        xml.push_str("</xml>");
        xml
    }
}

/// One element. Carriage returns and CDATA's own end cannot stand in CDATA; such a text is escaped.
pub(crate) fn write_element(name: &str, text: &str) -> String {
    if text.is_empty() || is_amount(name, text) {
        format!("<{name}>{text}</{name}>")
    } else if text.contains("]]>") || text.contains('\r') {
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('\r', "&#13;");
        format!("<{name}>{text}</{name}>")
    } else {
        format!("<{name}><![CDATA[{text}]]></{name}>")
    }
}

/// `total_fee`, `coupon_fee_0`, `coupon_count` …, but not `fee_type`.
fn is_amount(name: &str, text: &str) -> bool {
    let named = name.ends_with("_fee") || name.starts_with("coupon_fee_") || name == "coupon_count";
    named && text.bytes().all(|b| b.is_ascii_digit())
}

/// The same form, but not the signature.
pub(crate) fn wrong_signature(signature: &str) -> String {
    let first = if signature.starts_with('0') { "1" } else { "0" };
    format!("{first}{}", &signature[1..])
}

/// Whether XML can carry the text at all.
pub(crate) fn can_be_text(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..))
}

/// Whether XML can carry an element of this name.
pub(crate) fn can_be_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use wechatpay_v2::{Limits, parse_xml};

    use super::*;

    #[test]
    fn a_message_has_wechats_form_and_reads_back_unchanged() {
        let mut message = Message::default();
        message.set("attach", "a&b <c>");
        message.set("total_fee", 9900);
        message.set("fee_type", "CNY");
        message.set("device_info", "");
        message.set("hostile", "]]></hostile>\r\n<total_fee>1</total_fee>");
        let xml = message.to_xml();
        assert!(xml.contains("<attach><![CDATA[a&b <c>]]></attach>\n"), "{xml}");
        assert!(xml.contains("<total_fee>9900</total_fee>\n"), "{xml}");
        assert!(xml.contains("<fee_type><![CDATA[CNY]]></fee_type>\n"), "{xml}");
        assert!(xml.contains("<device_info></device_info>\n"), "{xml}");
        let read = parse_xml(xml.as_bytes(), Limits::MESSAGE).unwrap();
        let written: Fields = message.0.iter().cloned().collect();
        assert!(read == written);
    }
}
