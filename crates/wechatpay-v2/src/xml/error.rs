/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// It has more bytes than [`Limits::bytes`](crate::Limits::bytes).
    #[error("the document is larger than {0} bytes")]
    TooLarge(usize),
    /// It has more elements than [`Limits::elements`](crate::Limits::elements).
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
