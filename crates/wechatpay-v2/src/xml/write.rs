use crate::Fields;

/// Writes a message with the root element `<xml>`.
///
/// Texts are escaped and not put into CDATA, so no text can end its element. Tabs and line ends are
/// written as references, because a reader normalises raw ones, which would break the signature.
/// Element names, and characters that XML does not allow, are written unchecked: the caller checks
/// them.
#[must_use]
pub fn write_xml(fields: &Fields) -> String {
    let size: usize = fields.iter().map(|(name, text)| 2 * name.len() + text.len() + 8).sum();
    let mut xml = String::with_capacity(size + 64);
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
