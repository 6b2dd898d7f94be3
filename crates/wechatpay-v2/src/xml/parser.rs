//! Builds the fields of a document from its XML events, one after the other.

use quick_xml::events::{BytesRef, BytesStart};

use super::error::XmlError;
use super::limits::Limits;
use crate::Fields;

// Longer than WeChat's longest name (`refund_recv_accout_10`), and short enough to bound an attack.
const NAME_BYTES_MAX: usize = 64;

pub(super) struct DocumentParser {
    root: &'static str,
    limits: Limits,
    fields: Fields,
    state: ParserState,
}

enum ParserState {
    Prolog,
    Root,
    Element { name: String, text: String },
    Epilog,
}

impl DocumentParser {
    pub(super) fn new(root: &'static str, limits: Limits) -> Self {
        Self { root, limits, fields: Fields::new(), state: ParserState::Prolog }
    }

    pub(super) fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), XmlError> {
        if !is_white_space(tag.attributes_raw()) {
            return Err(XmlError::Unexpected("an attribute"));
        }
        let name = tag.name();
        self.state = match self.state {
            ParserState::Prolog if name.as_ref() == self.root => ParserState::Root,
            ParserState::Prolog => return Err(XmlError::Root(self.root)),
            ParserState::Root => {
                ParserState::Element { name: plain_name(name.as_ref())?, text: String::new() }
            }
            ParserState::Element { .. } => return Err(XmlError::Nested),
            ParserState::Epilog => return Err(XmlError::Trailing),
        };
        Ok(())
    }

    pub(super) fn close(&mut self) -> Result<(), XmlError> {
        match std::mem::replace(&mut self.state, ParserState::Root) {
            ParserState::Element { name, text } => {
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
            ParserState::Root => self.state = ParserState::Epilog,
            ParserState::Prolog | ParserState::Epilog => return Err(XmlError::Malformed),
        }
        Ok(())
    }

    /// Between elements only white space is allowed.
    pub(super) fn text(&mut self, piece: &str) -> Result<(), XmlError> {
        if let ParserState::Element { text, .. } = &mut self.state {
            text.push_str(piece);
            return Ok(());
        }
        if is_white_space(piece) {
            return Ok(());
        }
        Err(match self.state {
            ParserState::Epilog => XmlError::Trailing,
            ParserState::Prolog => XmlError::Malformed,
            _ => XmlError::Unexpected("text between elements"),
        })
    }

    pub(super) fn cdata(&mut self, piece: &str) -> Result<(), XmlError> {
        match &mut self.state {
            ParserState::Element { text, .. } => text.push_str(piece),
            ParserState::Epilog => return Err(XmlError::Trailing),
            _ => return Err(XmlError::Unexpected("text between elements")),
        }
        Ok(())
    }

    pub(super) fn character(&mut self, character: char) -> Result<(), XmlError> {
        self.cdata(character.encode_utf8(&mut [0; 4]))
    }

    pub(super) fn finish(self) -> Result<Fields, XmlError> {
        match self.state {
            ParserState::Epilog => Ok(self.fields),
            _ => Err(XmlError::Malformed),
        }
    }
}

pub(super) fn resolve(reference: &BytesRef<'_>) -> Result<char, XmlError> {
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

fn is_white_space(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

// Names take part in the signature as they are, so only characters that WeChat uses are accepted.
fn plain_name(name: &str) -> Result<String, XmlError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !starts || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        return Err(XmlError::Unexpected("an element name"));
    }
    Ok(name.to_owned())
}

// The characters of XML 1.0, chapter 2.2.
fn allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}
