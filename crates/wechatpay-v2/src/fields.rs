use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The elements of one message: names and raw decoded texts, in the byte order of the names that
/// the signature wants (reference 1.1, step 2). Empty texts are kept and left out when signing.
///
/// `Debug` shows the names only: values can be personal, and `sign` is one of them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// No elements.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The text of an element; `None` when it is absent **or empty**, which mean the same on this
    /// wire (reference 4.7).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Sets an element and returns the text that it replaced.
    pub fn insert(&mut self, name: impl Into<String>, text: impl Into<String>) -> Option<String> {
        self.0.insert(name.into(), text.into())
    }

    /// Sets an element when there is a text for it.
    pub fn insert_some(&mut self, name: &str, text: Option<impl ToString>) {
        if let Some(text) = text {
            self.insert(name, text.to_string());
        }
    }

    /// Takes an element out.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Whether the element is there, be it empty.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// All elements in the byte order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same elements without the white space around their texts, or `None` when there is none.
    pub(crate) fn trimmed(&self) -> Option<Self> {
        self.iter()
            .any(|(_, text)| text.trim_ascii() != text)
            .then(|| self.iter().map(|(name, text)| (name, text.trim_ascii())).collect())
    }
}

impl<N: Into<String>, T: Into<String>> FromIterator<(N, T)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, text)| (name.into(), text.into())).collect())
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
