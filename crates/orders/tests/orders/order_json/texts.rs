//! The fields that are texts.

use serde_json::json;

use super::{TEXTS, refuses, takes, text_of};

#[test]
fn text_length_is_counted_in_bytes() {
    for (field, bytes_max) in TEXTS {
        for wide in [false, true] {
            takes(field, text_of(field, bytes_max, wide));
            let rule = refuses(field, text_of(field, bytes_max + 1, wide));
            assert!(rule.contains(&format!("1 to {bytes_max} bytes")), "{rule}");
        }
        refuses(field, "");
        refuses(field, text_of(field, bytes_max, true) + "极");
    }
}

#[test]
fn text_that_would_not_arrive_unchanged_is_refused() {
    for (field, _) in TEXTS {
        let put = |character: char| {
            let text = match field {
                // Unescaped inside the inner JSON, where JSON allows it.
                "scene_info" | "detail" => format!(r#"{{"a":"x{character}x"}}"#),
                _ => format!("x{character}x"),
            };
            json!(text)
        };
        for forbidden in [
            '\0', '\t', '\n', '\r', '\u{1b}', '\u{7f}', '\u{85}', '\u{9f}', '\u{2028}', '\u{2029}',
            '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{fffe}', '\u{ffff}',
        ] {
            refuses(field, put(forbidden));
        }
        // Legal, and unchanged in transport. Some scripts need the joiners.
        for allowed in ['<', '&', ']', '\'', '\u{a0}', '\u{200b}', '\u{200d}', '，'] {
            takes(field, put(allowed));
        }
        for outer in [' ', '\u{a0}', '\u{3000}', '\u{200b}', '\u{2060}', '\u{feff}'] {
            let text = text_of(field, 20, false);
            refuses(field, format!("{outer}{text}"));
            refuses(field, format!("{text}{outer}"));
        }
    }
    for beyond in ["🌸", "𠮷"] {
        assert!(refuses("body", format!("花{beyond}")).contains("emoji"));
        takes("attach", format!("花{beyond}"));
    }
}

/// WeChat returns these two with the payment, so what makes a payment unreadable is refused here.
#[test]
fn field_returned_with_payment_must_stay_readable() {
    for field in ["attach", "device_info"] {
        for bad in ["<!DOCTYPE-", "a<!doctype xml>", "<!EnTiTy x", "a&fee_type=CNY"] {
            assert!(refuses(field, bad).contains("&fee_type="));
        }
        for good in ["a&b=1", "fee_type=CNY", "&amp;", "<!--", "<![CDATA[a]]>", "]]>"] {
            takes(field, good);
        }
    }
    for pair in ["mch_id", "out_trade_no", "result_code", "time_end", "total_fee"] {
        refuses("device_info", format!("a&{pair}=1"));
        takes("attach", format!("a&{pair}=1"));
    }
    takes("body", "a <!DOCTYPE &fee_type=CNY");
}

#[test]
fn detail_and_scene_info_hold_a_json_object() {
    for field in ["detail", "scene_info"] {
        for good in ["{}", r#"{"a":[1,{"b":null}]}"#, r#"{"a":"\u000a"}"#] {
            takes(field, good);
        }
        for bad in
            ["x", "[]", "\"{}\"", "null", "{", "{}{}", "{'a':1}", r#"{"a":1,}"#, r#"{"a":1,"a":2}"#]
        {
            refuses(field, bad);
        }
        let deep = |levels| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        takes(field, deep(40));
        refuses(field, deep(200));
        refuses(field, format!("{{\"a\":{}", "[".repeat(200)));
    }
    refuses("detail", format!("{{\"a\":{}", "[".repeat(5900)));
}
