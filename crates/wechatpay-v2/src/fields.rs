use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The elements of one message: their names and decoded texts.
///
/// They are ordered by the bytes of their names, as the signature needs them. Empty texts are kept
/// here and left out when signing. `Debug` shows the names only, because texts can be personal data.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// A message without any elements.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The text of an element. `None` if it is absent **or empty**: WeChat makes no difference.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Sets an element and returns its former text.
    pub fn insert(&mut self, name: impl Into<String>, text: impl Into<String>) -> Option<String> {
        self.0.insert(name.into(), text.into())
    }

    /// Sets an element if there is a text for it.
    pub fn insert_some(&mut self, name: &str, text: Option<impl ToString>) {
        if let Some(text) = text {
            self.insert(name, text.to_string());
        }
    }

    /// Removes an element and returns its text.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Whether the element is present, even if it is empty.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// All elements, ordered by the bytes of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The number of elements, empty ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the message has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The elements with trimmed texts, or `None` if no text has outer white space.
    pub(crate) fn trimmed(&self) -> Option<Self> {
        if self.iter().all(|(_, text)| text.trim_ascii() == text) {
            return None;
        }
        Some(self.iter().map(|(name, text)| (name, text.trim_ascii())).collect())
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
