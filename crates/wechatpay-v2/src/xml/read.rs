use quick_xml::Reader;
use quick_xml::events::Event;

use super::error::XmlError;
use super::limits::Limits;
use super::parser::{DocumentParser, resolve};
use crate::Fields;

/// Reads a message with the root element `<xml>`.
///
/// It accepts a byte order mark, an XML declaration, CDATA, the five predefined entities, character
/// references and empty elements.
///
/// # Errors
/// The first rule that the document breaks.
pub fn parse_xml(bytes: &[u8], limits: Limits) -> Result<Fields, XmlError> {
    parse_rooted(bytes, limits, "xml")
}

pub(crate) fn parse_rooted(
    bytes: &[u8],
    limits: Limits,
    root: &'static str,
) -> Result<Fields, XmlError> {
    if bytes.len() > limits.bytes {
        return Err(XmlError::TooLarge(limits.bytes));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| XmlError::NotUtf8)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if contains_doctype_or_entity(text) {
        return Err(XmlError::Doctype);
    }
    // A second byte order mark is text, but the reader would skip it.
    if text.starts_with('\u{feff}') {
        return Err(XmlError::Malformed);
    }
    // Events instead of a deserializer: that one silently keeps the last of two equal names, while
    // the signer may have kept the first.
    let mut document = DocumentParser::new(root, limits);
    let mut reader = Reader::from_str(text);
    let mut first = true;
    loop {
        match reader.read_event().map_err(|_| XmlError::Malformed)? {
            Event::Decl(declaration) if first => match declaration.encoding() {
                Some(Ok(name)) if !name.eq_ignore_ascii_case("utf-8") => {
                    return Err(XmlError::NotUtf8);
                }
                Some(Err(_)) => return Err(XmlError::Malformed),
                _ => {}
            },
            Event::Start(tag) => document.open(&tag)?,
            Event::Empty(tag) => {
                document.open(&tag)?;
                document.close()?;
            }
            Event::End(_) => document.close()?,
            Event::Text(piece) => document.text(&piece.into_inner())?,
            Event::CData(piece) => document.cdata(&piece.into_inner())?,
            Event::GeneralRef(reference) => document.character(resolve(&reference)?)?,
            Event::Comment(_) => {}
            Event::DocType(_) => return Err(XmlError::Doctype),
            Event::PI(_) | Event::Decl(_) => {
                return Err(XmlError::Unexpected("a processing instruction"));
            }
            Event::Eof => return document.finish(),
        }
        first = false;
    }
}

// Also inside texts and comments, where it would be harmless: nothing legitimate contains it.
pub(crate) fn contains_doctype_or_entity(text: &str) -> bool {
    text.match_indices("<!").any(|(at, _)| {
        let rest = &text.as_bytes()[at + 2..];
        starts_with_ignoring_case(rest, b"DOCTYPE") || starts_with_ignoring_case(rest, b"ENTITY")
    })
}

fn starts_with_ignoring_case(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
