//! The XML reader on legal and malformed documents, and the common properties of reader, writer and
//! signature.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use wechatpay_v2::{
    Fields, Limits, SignType, SignatureError, XmlError, parse_xml, sign, verify, write_xml,
};

mod samples;

fn parse(text: &str) -> Result<Fields, XmlError> {
    parse_xml(text.as_bytes(), Limits::MESSAGE)
}

/// The only element's text.
fn text_of(document: &str) -> Result<String, XmlError> {
    let fields = parse(document)?;
    assert!(fields.len() == 1 && fields.contains("a"), "{document}");
    Ok(fields.get("a").unwrap_or_default().to_owned())
}

#[test]
fn text_is_read_in_every_form() {
    for (inside, text) in [
        ("1", "1"),
        ("<![CDATA[1]]>", "1"),
        ("<![CDATA[a]]><![CDATA[b]]>", "ab"),
        ("<![CDATA[a]]]]><![CDATA[>b]]>", "a]]>b"),
        ("x<![CDATA[&lt;&#65;<y>]]>z", "x&lt;&#65;<y>z"),
        ("&amp;&lt;&gt;&quot;&apos;", "&<>\"'"),
        ("&#65;&#x42;&#x6D4b;&#128512;", "AB测😀"),
        ("&amp;amp;", "&amp;"),
        ("&#9;&#10;&#13;", "\t\n\r"),
        ("99<!-- <b>&x; --><!----> 00", "99 00"),
        (" inner  and outer ", " inner  and outer "),
        ("100%25 a+b", "100%25 a+b"),
        (">", ">"),
        ("\u{7f}\u{85}\u{a0}\u{3000}", "\u{7f}\u{85}\u{a0}\u{3000}"),
        ("\u{fffd}\u{10ffff}", "\u{fffd}\u{10ffff}"),
    ] {
        let document = format!("<xml><a>{inside}</a></xml>");
        assert_eq!(text_of(&document).as_deref(), Ok(text), "{inside}");
    }
}

#[test]
fn empty_element_is_present_and_empty_in_every_form() {
    for element in [
        "<a></a>",
        "<a/>",
        "<a />",
        "<a\n></a\t>",
        "<a><![CDATA[]]></a>",
        "<a><!-- nothing --></a>",
    ] {
        let fields = parse(&format!("<xml>{element}</xml>")).unwrap();
        assert!(fields.contains("a"), "{element}");
        assert_eq!(fields.get("a"), None, "{element}");
    }
    for nothing in ["<xml></xml>", "<xml/>", "<xml> \n </xml >"] {
        assert_eq!(parse(nothing), Ok(Fields::new()), "{nothing}");
    }
}

#[test]
fn declaration_comments_and_white_space_are_skipped() {
    for (before, after) in [
        ("", ""),
        ("\u{feff}", ""),
        ("<?xml version=\"1.0\" encoding=\"utf-8\"?>", ""),
        ("\u{feff}<?xml version='1.0' encoding='UTF-8' standalone='yes'?>\r\n", "\n"),
        ("<?xml version=\"1.0\"?>", " \t\r\n"),
        (" \n", "<!-- by the gateway -->"),
        ("<!-- <a>1</a> -->", "\n"),
    ] {
        let document = format!("{before}<xml>\r\n\t<!-- x --> <a>1</a>\n</xml>{after}");
        assert_eq!(text_of(&document).as_deref(), Ok("1"), "{document:?}");
    }
}

#[test]
fn other_encodings_are_refused() {
    for declared in ["gbk", "GB2312", "iso-8859-1", "utf-16", "UTF8", ""] {
        let document =
            format!("<?xml version=\"1.0\" encoding=\"{declared}\"?><xml><a>1</a></xml>");
        assert_eq!(parse(&document), Err(XmlError::NotUtf8), "{declared}");
    }
    let gbk = b"<xml><body>\xb2\xe2\xca\xd4</body></xml>";
    let cut_character = b"<xml><body>\xe6\xb5</body></xml>";
    let overlong = b"<xml><body>\xc0\xbc</body></xml>";
    let surrogate = b"<xml><body>\xed\xa0\x80</body></xml>";
    for bytes in [&gbk[..], cut_character, overlong, surrogate] {
        assert_eq!(parse_xml(bytes, Limits::MESSAGE), Err(XmlError::NotUtf8));
    }
    let utf_16: Vec<u8> = "<xml/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(parse_xml(&utf_16, Limits::MESSAGE).is_err());
}

#[test]
fn doctype_is_refused_anywhere_in_any_case() {
    for hostile in [
        "<!DOCTYPE xml [<!ENTITY x SYSTEM \"file:///etc/hostname\">]><xml><a>&x;</a></xml>",
        "<!DOCTYPE xml><xml><a>1</a></xml>",
        "<!doctype xml><xml/>",
        "<!DocType xml SYSTEM \"http://127.0.0.1/\"><xml/>",
        "\u{feff}<?xml version=\"1.0\"?><!DOCTYPE xml><xml/>",
        "<xml><!DOCTYPE xml><a>1</a></xml>",
        "<xml><a><!DOCTYPE xml></a></xml>",
        "<xml/><!DOCTYPE xml>",
        "<xml><!ENTITY x \"y\"></xml>",
        "<!entity % x \"y\"><xml/>",
        "<xml><a><![CDATA[<!DOCTYPE]]></a></xml>",
        "<xml><!-- <!ENTITY --></xml>",
        "<!DOCTYPE",
    ] {
        assert_eq!(parse(hostile), Err(XmlError::Doctype), "{hostile}");
    }
}

#[test]
fn each_malformed_document_has_its_reason() {
    use XmlError::{Malformed, Nested, Reference, Repeated, Root, Trailing};
    let unexpected = XmlError::Unexpected;
    let pi = unexpected("a processing instruction");
    let attribute = unexpected("an attribute");
    let between = unexpected("text between elements");
    let name = unexpected("an element name");
    for (document, reason) in [
        // Processing instructions, and declarations that are not at the start.
        ("<xml><?php x?></xml>", &pi),
        ("<?xml-stylesheet href='x'?><xml/>", &pi),
        ("<xml/><?x?>", &pi),
        ("<xml><?xml version='1.0'?></xml>", &pi),
        (" <?xml version='1.0'?><xml/>", &pi),
        ("<?xml version='1.0' encoding=gbk?><xml/>", &Malformed),
        ("<?xml version='1.0'", &Malformed),
        // Attributes, also broken ones.
        ("<xml a='1'/>", &attribute),
        ("<xml xmlns=\"http://x\"><a>1</a></xml>", &attribute),
        ("<xml><a b=\">\">1</a></xml>", &attribute),
        ("<xml><a b>1</a></xml>", &attribute),
        ("<xml><a =\"1\">1</a></xml>", &attribute),
        ("<xml><a / ></a></xml>", &attribute),
        ("<xml><a>1 < 2</a></xml>", &attribute),
        ("<xml><a b='1'/></xml>", &attribute),
        // One level, each name once.
        ("<xml><a><b>1</b></a></xml>", &Nested),
        ("<xml><a><a/></a></xml>", &Nested),
        ("<xml><xml><a>1</a></xml></xml>", &Nested),
        ("<xml><a>1</a><a>1</a></xml>", &Repeated),
        ("<xml><a>1</a><b/><a>2</a></xml>", &Repeated),
        ("<xml><a/><a>1</a></xml>", &Repeated),
        ("<xml><a>1</a><a></a></xml>", &Repeated),
        ("<xml><a/><a/></xml>", &Repeated),
        // The root, and nothing after it.
        ("<root><a>1</a></root>", &Root("xml")),
        ("<XML><a>1</a></XML>", &Root("xml")),
        ("<x:xml/>", &Root("xml")),
        ("<html><head></head></html>", &Root("xml")),
        ("<xml/><xml/>", &Trailing),
        ("<xml><a>1</a></xml><xml><a>2</a></xml>", &Trailing),
        ("<xml/>x", &Trailing),
        ("<xml/>\0", &Trailing),
        ("<xml/>&amp;", &Trailing),
        ("<xml/><![CDATA[x]]>", &Trailing),
        // Text where only white space is allowed.
        ("<xml>x<a>1</a></xml>", &between),
        ("<xml><a>1</a>&#32;</xml>", &between),
        ("<xml><a>1</a><![CDATA[]]></xml>", &between),
        ("<xml>\u{a0}<a>1</a></xml>", &between),
        ("<xml><a>1</a>\u{c}</xml>", &between),
        // Names.
        ("<xml><支付>1</支付></xml>", &name),
        ("<xml><a:b>1</a:b></xml>", &name),
        ("<xml><a&b>1</a&b></xml>", &name),
        ("<xml><a/b></a/b></xml>", &name),
        ("<xml><></></xml>", &name),
        ("<xml><1a>1</1a></xml>", &name),
        ("<xml><-a>1</-a></xml>", &name),
        ("<xml><.a/></xml>", &name),
        // Not well-formed, cut off, or no XML.
        ("", &Malformed),
        ("   ", &Malformed),
        ("SUCCESS", &Malformed),
        ("{\"xml\":{}}", &Malformed),
        ("1", &Malformed),
        ("x<xml/>", &Malformed),
        ("\u{feff}\u{feff}<xml/>", &Malformed),
        ("<xml>", &Malformed),
        ("</xml>", &Malformed),
        ("<xml><a>1</xml>", &Malformed),
        ("<xml><a>1</b></xml>", &Malformed),
        ("<xml><a>1</a b></xml>", &Malformed),
        ("<xml><a>1</A></xml>", &Malformed),
        ("<xml></xml></xml>", &Malformed),
        ("<xml><a>1 & 2</a></xml>", &Malformed),
        ("<xml><a>1&lt</a></xml>", &Malformed),
        ("<xml><a><![CDATA[1]]</a></xml>", &Malformed),
        ("<xml><a><![cdata[1]]></a></xml>", &Malformed),
        ("<xml><!-- </xml>", &Malformed),
        ("<xml><! ></xml>", &Malformed),
        // Undefined references and characters that XML does not allow.
        ("<xml><a>&x;</a></xml>", &Reference),
        ("<xml><a>&AMP;</a></xml>", &Reference),
        ("<xml><a>&nbsp;</a></xml>", &Reference),
        ("<xml><a>&;</a></xml>", &Reference),
        ("<xml><a>&#;</a></xml>", &Reference),
        ("<xml><a>&#x;</a></xml>", &Reference),
        ("<xml><a>&#0;</a></xml>", &Reference),
        ("<xml><a>&#x0;</a></xml>", &Reference),
        ("<xml><a>&#+65;</a></xml>", &Reference),
        ("<xml><a>&#xD800;</a></xml>", &Reference),
        ("<xml><a>&#x110000;</a></xml>", &Reference),
        ("<xml><a>&#99999999999;</a></xml>", &Reference),
        ("<xml><a>&#xFFFE;</a></xml>", &Reference),
        ("<xml><a>\u{fffe}</a></xml>", &Reference),
        ("<xml><a><![CDATA[\u{ffff}]]></a></xml>", &Reference),
    ] {
        assert_eq!(parse(document).as_ref(), Err(reason), "{document:?}");
    }
}

#[test]
fn control_characters_are_refused_raw_and_as_references() {
    for code in (0..0x20).filter(|code| ![9, 10, 13].contains(code)) {
        let raw = char::from_u32(code).unwrap();
        for inside in [
            format!("a{raw}b"),
            format!("<![CDATA[{raw}]]>"),
            format!("&#{code};"),
            format!("&#x{code:X};"),
        ] {
            let document = format!("<xml><a>{inside}</a></xml>");
            assert_eq!(parse(&document), Err(XmlError::Reference), "{inside:?}");
        }
    }
}

#[test]
fn truncated_sample_is_refused() {
    for id in ["N1", "N4", "N13", "E5", "RN1", "U1"] {
        let whole = samples::body(id);
        assert!(parse_xml(&whole, Limits::MESSAGE).is_ok(), "{id}");
        for end in 0..whole.len() {
            let result = parse_xml(&whole[..end], Limits::MESSAGE);
            assert!(
                matches!(result, Err(XmlError::Malformed | XmlError::NotUtf8)),
                "{id} up to {end}: {result:?}"
            );
        }
    }
}

#[test]
fn message_over_a_limit_is_refused() {
    let of_size = |bytes: usize| {
        let frame = "<xml><a></a></xml>".len();
        format!("<xml><a>{}</a></xml>", "x".repeat(bytes - frame))
    };
    assert_eq!(text_of(&of_size(64 * 1024)).unwrap().len(), 64 * 1024 - 18);
    let too_large = XmlError::TooLarge(64 * 1024);
    assert_eq!(parse(&of_size(64 * 1024 + 1)), Err(too_large));

    let of_elements = |count: usize| -> String {
        let elements: String = (0..count).map(|n| format!("<a{n}/>")).collect();
        format!("<xml>{elements}</xml>")
    };
    assert_eq!(parse(&of_elements(256)).unwrap().len(), 256);
    let too_many = XmlError::TooManyElements(256);
    assert_eq!(parse(&of_elements(257)), Err(too_many.clone()));
    assert_eq!(parse(&of_elements(6000)), Err(too_many));

    let of_name = |bytes: usize| format!("<xml><{0}>1</{0}></xml>", "n".repeat(bytes));
    assert!(parse(&of_name(64)).is_ok());
    let long_name = XmlError::Unexpected("an element name");
    assert_eq!(parse(&of_name(65)), Err(long_name.clone()));
    assert_eq!(parse(&of_name(30_000)), Err(long_name));

    let tight = Limits { bytes: 30, elements: 1 };
    let small = |document: &str| parse_xml(document.as_bytes(), tight);
    assert!(small("<xml><a>1</a></xml>").is_ok());
    assert_eq!(small("<xml><a/><b/></xml>"), Err(XmlError::TooManyElements(1)));
    assert_eq!(small("<xml><a>1234567890123</a></xml>"), Err(XmlError::TooLarge(30)));
}

/// Documents that can take a reader quadratic time, each as large as the limit allows.
#[test]
fn largest_costly_documents_are_read_or_refused() {
    let fill = |unit: &str| unit.repeat((64 * 1024 - 32) / unit.len());
    let inside = |unit: &str| format!("<xml><a>{}</a></xml>", fill(unit));
    for (unit, text) in [
        ("<![CDATA[x]]>", "x"),
        ("&amp;", "&"),
        ("&#x10FFFF;", "\u{10ffff}"),
        ("x<!-- -->", "x"),
        ("]]]", "]]]"),
    ] {
        let length = fill(unit).len() / unit.len() * text.len();
        let read = text_of(&inside(unit)).unwrap();
        assert!(read.len() == length && read.starts_with(text), "{unit}");
    }
    for unit in ["<!", "<a>", "<a/>", "&", "<![CDATA[", "<!--", "</a>", "<a b='", "<?x?>"] {
        assert!(parse(&inside(unit)).is_err(), "{unit}");
        assert!(parse(&fill(unit)).is_err(), "{unit}");
    }
}

/// Line ends are references, because other readers turn a raw CR LF into LF.
#[test]
fn written_texts_are_escaped_without_cdata() {
    let fields: Fields =
        [("b", ""), ("a", "<&>\"' ]]>\t\r\n测😀"), ("sign", "X")].into_iter().collect();
    assert_eq!(
        write_xml(&fields),
        "<xml><a>&lt;&amp;&gt;\"' ]]&gt;&#9;&#13;&#10;测😀</a><b></b><sign>X</sign></xml>"
    );
    assert_eq!(write_xml(&Fields::new()), "<xml></xml>");
}

/// Texts that XML allows, rich in what needs escaping.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => proptest::char::range(' ', '~'),
        2 => prop::sample::select(vec!['&', '<', '>', ']', '"', '\'', ';', '#', '=', ' ']),
        1 => prop::sample::select(vec!['\t', '\n', '\r', '\u{85}', '\u{2028}', '\u{feff}']),
        1 => proptest::char::range('\u{a0}', '\u{d7ff}'),
        1 => proptest::char::range('\u{e000}', '\u{fffd}'),
        1 => proptest::char::range('\u{1f300}', '\u{1f9ff}'),
    ];
    let awkward = prop::sample::select(vec![
        "]]>",
        "<![CDATA[",
        "\r\n",
        "&amp;",
        "&#13;",
        "--> ",
        "</xml>",
        "<?x?>",
        "<!DOCTYPE",
        "😀",
        "",
    ]);
    vec(
        prop_oneof![3 => character.prop_map(String::from), 1 => awkward.prop_map(str::to_owned)],
        0..24,
    )
    .prop_map(|pieces| pieces.concat())
}

fn fields() -> impl Strategy<Value = Fields> {
    btree_map("[A-Za-z_][A-Za-z0-9_.-]{0,20}", text(), 0..12)
        .prop_map(|elements| elements.into_iter().collect())
}

fn sign_type() -> impl Strategy<Value = SignType> {
    prop::sample::select(vec![SignType::Md5, SignType::HmacSha256])
}

fn signed(mut fields: Fields, sign_type: SignType) -> Fields {
    fields.remove("sign_type");
    samples::signed(fields, sign_type)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn written_message_is_read_unchanged(fields in fields()) {
        let read = parse(&write_xml(&fields)).unwrap();
        let pairs = |fields: &Fields| -> Vec<(String, String)> {
            fields.iter().map(|(n, t)| (n.to_owned(), t.to_owned())).collect()
        };
        prop_assert_eq!(pairs(&read), pairs(&fields));
    }

    #[test]
    fn reader_does_not_panic_on_any_bytes(bytes in vec(any::<u8>(), 0..512)) {
        let _ = parse_xml(&bytes, Limits::MESSAGE);
    }

    #[test]
    fn reader_does_not_panic_on_any_markup(
        pieces in vec(prop::sample::select(vec![
            "<", ">", "</", "/>", "<xml>", "</xml>", "<a>", "</a>", "<a/>", "<![CDATA[", "]]>",
            "<!--", "-->", "<?", "?>", "<?xml ", "encoding=", "\"", "'", "&", ";", "&#", "&#x",
            "&amp;", "<!", "DOCTYPE", "\u{feff}", "\0", "测", "😀", " ", "\n", "=", "]", "-", "1",
        ]), 0..40),
    ) {
        let _ = parse(&pieces.concat());
    }

    #[test]
    fn flipped_bit_never_verifies_as_another_message(
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut bytes = samples::body("N13");
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        if let Ok(fields) = parse_xml(&bytes, Limits::MESSAGE)
            && verify(&fields, &samples::key()).is_ok()
        {
            let trimmed = |fields: &Fields| -> Vec<(String, String)> {
                let filled = fields.iter().filter(|(name, text)| {
                    *name != "sign" && !text.trim_ascii().is_empty()
                });
                filled.map(|(n, t)| (n.to_owned(), t.trim_ascii().to_owned())).collect()
            };
            prop_assert_eq!(trimmed(&fields), trimmed(&samples::fields("N13")));
        }
    }

    #[test]
    fn signature_ignores_the_order_of_insertion(
        pairs in btree_map("[a-zA-Z_0-9]{1,8}", text(), 0..12)
            .prop_map(|map| map.into_iter().collect::<Vec<_>>())
            .prop_shuffle(),
        sign_type in sign_type(),
    ) {
        let shuffled: Fields = pairs.iter().cloned().collect();
        let mut sorted = pairs;
        sorted.sort();
        let mut one_by_one = Fields::new();
        for (name, text) in sorted {
            one_by_one.insert(name, text);
        }
        let key = samples::key();
        prop_assert_eq!(sign(&shuffled, &key, sign_type), sign(&one_by_one, &key, sign_type));
    }

    #[test]
    fn message_with_a_changed_text_does_not_verify(
        fields in fields(),
        name in "[a-z]{1,8}",
        before in text(),
        after in text(),
        sign_type in sign_type(),
    ) {
        prop_assume!(!matches!(name.as_str(), "sign" | "sign_type"));
        prop_assume!(before.trim_ascii() != after.trim_ascii());
        let mut fields = fields;
        fields.insert(name.clone(), before);
        let mut fields = signed(fields, sign_type);
        prop_assert_eq!(verify(&fields, &samples::key()), Ok(sign_type));
        fields.insert(name, after);
        prop_assert_eq!(verify(&fields, &samples::key()), Err(SignatureError::Wrong));
    }

    #[test]
    fn message_does_not_verify_with_another_key(fields in fields(), sign_type in sign_type()) {
        let fields = signed(fields, sign_type);
        prop_assert_eq!(verify(&fields, &samples::other_key()), Err(SignatureError::Wrong));
    }

    #[test]
    fn sign_in_lower_case_or_with_white_space_verifies(
        fields in fields(),
        sign_type in sign_type(),
        around in "[ \t\r\n]{1,3}",
    ) {
        let trimmed: Fields = fields.iter().map(|(name, text)| (name, text.trim_ascii())).collect();
        let fields = signed(trimmed, sign_type);
        let lower = fields.get("sign").unwrap_or_default().to_ascii_lowercase();
        let mut padded: Fields = fields
            .iter()
            .map(|(name, text)| (name.to_owned(), format!("{around}{text}{around}")))
            .collect();
        prop_assert_eq!(verify(&padded, &samples::key()), Ok(sign_type));
        padded.insert("sign", lower);
        prop_assert_eq!(verify(&padded, &samples::key()), Ok(sign_type));
    }
}
