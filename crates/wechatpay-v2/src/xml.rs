//! WeChat's flat XML, reading and writing (PROTOCOL.md, "XML").

mod error;
mod limits;
mod parser;
mod read;
mod write;

pub use error::XmlError;
pub use limits::Limits;
pub use read::parse_xml;
pub(crate) use read::{contains_doctype_or_entity, parse_rooted};
pub use write::write_xml;
