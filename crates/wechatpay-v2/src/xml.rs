//! WeChat's flat XML, reading and writing (PROTOCOL.md, "XML").

mod document;
mod write;

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::Fields;
use document::{Document, resolve};
pub use write::write_xml;

/// The largest message to read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The size of the whole document in bytes.
    pub bytes: usize,
    /// The number of elements below the root.
    pub elements: usize,
}

impl Limits {
    /// 64 KiB and 256 elements. A message has a few KB, its longest field 6,000 characters, and a
    /// payment with fifty coupons about 180 elements.
    pub const MESSAGE: Self = Self { bytes: 64 * 1024, elements: 256 };
}

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// It has more bytes than [`Limits::bytes`].
    #[error("the document is larger than {0} bytes")]
    TooLarge(usize),
    /// It has more elements than [`Limits::elements`].
    #[error("the document has more than {0} elements")]
    TooManyElements(usize),
    /// It is not UTF-8, or declares another encoding.
    #[error("the document is not UTF-8")]
    NotUtf8,
    /// `<!DOCTYPE` or `<!ENTITY` is anywhere in it. WeChat never sends them; attackers do.
    #[error("the document contains a DOCTYPE or ENTITY declaration")]
    Doctype,
    /// It is not well-formed, cut off, or not XML at all.
    #[error("the document is not well-formed XML")]
    Malformed,
    /// The root element does not have the expected name.
    #[error("the root element is not <{0}>")]
    Root(&'static str),
    /// An element is inside another element.
    #[error("the document is nested")]
    Nested,
    /// A name appears twice. Which of the two was signed would be ambiguous.
    #[error("an element appears twice")]
    Repeated,
    /// It contains an attribute, a processing instruction, text between elements, or an element name
    /// with unusual characters.
    #[error("the document contains what WeChat never sends: {0}")]
    Unexpected(&'static str),
    /// Something follows the end of the root element.
    #[error("something follows the document")]
    Trailing,
    /// It contains a character that XML does not allow, raw or as a reference, or an entity other
    /// than the five predefined ones.
    #[error("the document contains a character or reference that XML does not allow")]
    Reference,
}

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
    if contains_doctype(text) {
        return Err(XmlError::Doctype);
    }
    // A second byte order mark is text, but the reader would skip it.
    if text.starts_with('\u{feff}') {
        return Err(XmlError::Malformed);
    }
    // Events instead of a deserializer: that one silently keeps the last of two equal names, while
    // the signer may have kept the first.
    let mut document = Document::new(root, limits);
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
pub(crate) fn contains_doctype(text: &str) -> bool {
    text.match_indices("<!").any(|(at, _)| {
        let rest = &text.as_bytes()[at + 2..];
        starts_with_ignoring_case(rest, b"DOCTYPE") || starts_with_ignoring_case(rest, b"ENTITY")
    })
}

fn starts_with_ignoring_case(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
