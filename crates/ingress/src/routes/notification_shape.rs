/// Whether a body can be a notification at all. Cheap, and keeps garbage off the queue; a worker
/// parses and verifies.
pub(super) fn check(body: &[u8]) -> Result<(), &'static str> {
    let text = std::str::from_utf8(body).map_err(|_| "not UTF-8")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_start();
    if text.is_empty() {
        return Err("empty");
    }
    if !text.starts_with("<xml") && !text.starts_with("<?xml") {
        return Err("not XML");
    }
    let contains = |word: &[u8]| {
        text.as_bytes().windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
    };
    if contains(b"<!DOCTYPE") || contains(b"<!ENTITY") {
        return Err("document types and entities are not read");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notification_has_the_shape_of_xml() {
        for good in [
            "<xml></xml>",
            "<xml>\n<appid>x</appid></xml>",
            "<?xml version=\"1.0\"?><xml/>",
            "\u{feff}<xml/>",
            " \r\n<xml/>",
            "\u{feff}\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xml/>",
        ] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good:?}");
        }
        for bad in [
            &b""[..],
            b" \n",
            b"\xef\xbb\xbf",
            b"{}",
            b"xml",
            b"<!-- --><xml/>",
            b"<xml>\xff</xml>",
            b"<?xml version=\"1.0\"?><!DOCTYPE xml []><xml/>",
            b"<xml><!doctype x></xml>",
            b"<xml><!eNtItY x \"y\"></xml>",
        ] {
            assert!(check(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
