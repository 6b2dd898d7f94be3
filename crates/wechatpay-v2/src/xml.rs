//! WeChat's flat XML, both ways (reference 4.7).
//!
//! Read by events, because a reader that fills a map silently keeps the last of two equal names
//! while a verifier elsewhere keeps the first.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use crate::Fields;

/// What a message may be at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The whole document, in bytes.
    pub bytes: usize,
    /// Elements below the root.
    pub elements: usize,
}

impl Limits {
    /// 64 KiB and 256 elements: a message is a few KB, its longest field 6000 characters, and a
    /// payment with fifty coupons has some 180 elements.
    pub const MESSAGE: Self = Self { bytes: 64 * 1024, elements: 256 };
}

/// Longer than any name of WeChat's (`refund_recv_accout_10`), short enough to bound an attack.
const NAME_BYTES_MAX: usize = 64;

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// More bytes than [`Limits::bytes`].
    #[error("the document is larger than {0} bytes")]
    TooLarge(usize),
    /// More elements than [`Limits::elements`].
    #[error("the document has more than {0} elements")]
    TooManyElements(usize),
    /// Bytes that are no UTF-8, or a declaration of another encoding.
    #[error("the document is not UTF-8")]
    NotUtf8,
    /// `<!DOCTYPE` or `<!ENTITY`, anywhere: somebody is probing.
    #[error("the document holds a DOCTYPE or ENTITY declaration")]
    Doctype,
    /// Not well-formed, cut off, or not XML at all.
    #[error("the document is not well-formed XML")]
    Malformed,
    /// The root element has another name than the one expected.
    #[error("the root element is not <{0}>")]
    Root(&'static str),
    /// An element below the first level.
    #[error("the document is nested")]
    Nested,
    /// A name that appears twice: which one was signed is ambiguous.
    #[error("an element appears twice")]
    Repeated,
    /// Attributes, processing instructions, text between elements, names out of the ordinary.
    #[error("the document holds what WeChat never sends: {0}")]
    Unexpected(&'static str),
    /// Something after the root element's end.
    #[error("something follows the document")]
    Trailing,
    /// A character that XML does not allow, raw or as a reference, or an entity that is none of
    /// the five predefined ones.
    #[error("the document holds a character or reference that XML does not allow")]
    Reference,
}

/// Reads a message whose root element is `<xml>`.
///
/// A byte order mark, a declaration, CDATA, the five predefined entities, bare numbers and empty
/// elements are accepted.
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
    if holds_doctype(text) {
        return Err(XmlError::Doctype);
    }
    // The reader would swallow a second byte order mark, which is text.
    if text.starts_with('\u{feff}') {
        return Err(XmlError::Malformed);
    }
    let mut document = Document { root, limits, fields: Fields::new(), place: Place::Prolog };
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
            Event::Eof => return document.end(),
        }
        first = false;
    }
}

/// Anywhere: a text that holds one is refused as the document would be.
pub(crate) fn holds_doctype(text: &str) -> bool {
    text.as_bytes().windows(3).enumerate().any(|(at, start)| {
        start[0] == b'<' && start[1] == b'!' && {
            let rest = &text.as_bytes()[at + 2..];
            [&b"DOCTYPE"[..], b"ENTITY"].iter().any(|word| {
                rest.len() >= word.len() && rest[..word.len()].eq_ignore_ascii_case(word)
            })
        }
    })
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, XmlError> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| XmlError::Reference)? {
        return Ok(character);
    }
    match reference.as_ref() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(XmlError::Reference),
    }
}

/// Where in the document the reader stands.
enum Place {
    Prolog,
    Root,
    Element { name: String, text: String },
    Epilog,
}

struct Document {
    root: &'static str,
    limits: Limits,
    fields: Fields,
    place: Place,
}

impl Document {
    fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), XmlError> {
        if !is_layout(tag.attributes_raw()) {
            return Err(XmlError::Unexpected("an attribute"));
        }
        let name = tag.name();
        self.place = match self.place {
            Place::Prolog if name.as_ref() == self.root => Place::Root,
            Place::Prolog => return Err(XmlError::Root(self.root)),
            Place::Root => Place::Element { name: plain_name(name.as_ref())?, text: String::new() },
            Place::Element { .. } => return Err(XmlError::Nested),
            Place::Epilog => return Err(XmlError::Trailing),
        };
        Ok(())
    }

    fn close(&mut self) -> Result<(), XmlError> {
        match std::mem::replace(&mut self.place, Place::Root) {
            Place::Element { name, text } => {
                if !text.chars().all(allowed) {
                    return Err(XmlError::Reference);
                }
                if self.fields.insert(name, text).is_some() {
                    return Err(XmlError::Repeated);
                }
                if self.fields.len() > self.limits.elements {
                    return Err(XmlError::TooManyElements(self.limits.elements));
                }
            }
            Place::Root => self.place = Place::Epilog,
            Place::Prolog | Place::Epilog => return Err(XmlError::Malformed),
        }
        Ok(())
    }

    /// Text between elements is layout when it is white space, and a fault otherwise.
    fn text(&mut self, piece: &str) -> Result<(), XmlError> {
        if let Place::Element { text, .. } = &mut self.place {
            text.push_str(piece);
            return Ok(());
        }
        if is_layout(piece) {
            return Ok(());
        }
        Err(match self.place {
            Place::Epilog => XmlError::Trailing,
            Place::Prolog => XmlError::Malformed,
            _ => XmlError::Unexpected("text between elements"),
        })
    }

    fn cdata(&mut self, piece: &str) -> Result<(), XmlError> {
        match &mut self.place {
            Place::Element { text, .. } => text.push_str(piece),
            Place::Epilog => return Err(XmlError::Trailing),
            _ => return Err(XmlError::Unexpected("text between elements")),
        }
        Ok(())
    }

    fn character(&mut self, character: char) -> Result<(), XmlError> {
        self.cdata(character.encode_utf8(&mut [0; 4]))
    }

    fn end(self) -> Result<Fields, XmlError> {
        match self.place {
            Place::Epilog => Ok(self.fields),
            _ => Err(XmlError::Malformed),
        }
    }
}

fn is_layout(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// Names are hashed as they stand, so only the plain ones that WeChat uses are taken.
fn plain_name(name: &str) -> Result<String, XmlError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !begins || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        return Err(XmlError::Unexpected("an element name"));
    }
    Ok(name.to_owned())
}

/// The characters of XML 1.0.
fn allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// Writes a message. Texts are escaped and no CDATA is used, so nothing inside can end it
/// (reference 4.7). White space other than spaces is written as references, which survive a
/// reader's normalisation of line ends. Names, and characters that XML does not allow, are written
/// as they stand: names are the program's own, and texts are checked where they come in.
#[must_use]
pub fn write_xml(fields: &Fields) -> String {
    let mut xml = String::with_capacity(
        64 + fields.iter().map(|(n, t)| 2 * n.len() + t.len() + 8).sum::<usize>(),
    );
    xml.push_str("<xml>");
    for (name, text) in fields.iter() {
        xml.extend(["<", name, ">"]);
        for character in text.chars() {
            match character {
                '&' => xml.push_str("&amp;"),
                '<' => xml.push_str("&lt;"),
                '>' => xml.push_str("&gt;"),
                '\t' => xml.push_str("&#9;"),
                '\n' => xml.push_str("&#10;"),
                '\r' => xml.push_str("&#13;"),
                other => xml.push(other),
            }
        }
        xml.extend(["</", name, ">"]);
    }
    xml.push_str("</xml>");
    xml
}
