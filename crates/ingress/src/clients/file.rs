//! The file itself.

use std::{
    collections::{BTreeSet, HashSet},
    io,
};

use serde::Deserialize;
use wechatpay_v2::MchId;

/// Why a file of clients cannot be used. Never repeats what stands in it: a token may stand where
/// its hash belongs.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum InvalidClients {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error(
        "does not fit in line {line}: each [[client]] has a name, token_sha256 (a list of texts of \
         64 hex digits), mch_ids (a list of merchant numbers, or \"*\") and perhaps amqp_user"
    )]
    Malformed { line: usize },
    #[error("names no client")]
    Empty,
    #[error("has two clients of the same name, or one without a name")]
    Name,
    #[error("gives the same token twice")]
    Token,
}

/// Reads and checks the clients of a file.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, InvalidClients> {
    let File { client: clients } = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.unwrap_or_default().matches('\n').count() + 1;
        InvalidClients::Malformed { line }
    })?;
    let (mut names, mut hashes) = (HashSet::new(), HashSet::new());
    for client in &clients {
        if client.name.trim().is_empty() || !names.insert(&client.name) {
            return Err(InvalidClients::Name);
        }
        if !client.token_sha256.iter().all(|hash| hashes.insert(hash)) {
            return Err(InvalidClients::Token);
        }
    }
    if clients.is_empty() { Err(InvalidClients::Empty) } else { Ok(clients) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    client: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Absent for a client that only comes by AMQP.
    #[serde(default)]
    pub(super) token_sha256: Vec<TokenHash>,
    pub(super) mch_ids: Scope,
    /// The worker's concern: both services read the same file.
    #[serde(default, rename = "amqp_user")]
    _amqp_user: Option<String>,
}

#[derive(PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct TokenHash(pub(super) [u8; 32]);

impl TryFrom<String> for TokenHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let rule = "must be 64 hex digits";
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(rule);
        }
        for (byte, start) in hash.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[start..start + 2], 16).map_err(|_| rule)?;
        }
        Ok(Self(hash))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "ScopeText")]
pub(super) enum Scope {
    Every,
    Only(BTreeSet<MchId>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ScopeText {
    One(String),
    List(BTreeSet<String>),
}

impl TryFrom<ScopeText> for Scope {
    type Error = &'static str;

    fn try_from(text: ScopeText) -> Result<Self, Self::Error> {
        let rule = "must be merchant numbers or \"*\"";
        let list = match text {
            ScopeText::One(text) => BTreeSet::from([text]),
            ScopeText::List(list) => list,
        };
        if list.contains("*") {
            return if list.len() == 1 { Ok(Self::Every) } else { Err(rule) };
        }
        let ids = list.into_iter().map(MchId::parse).collect::<Result<_, _>>();
        ids.map(Self::Only).map_err(|_| rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entry: &str) -> Result<Vec<Entry>, InvalidClients> {
        parse(&format!("[[client]]\nname = \"shop\"\n{entry}"))
    }

    #[test]
    fn a_file_that_does_not_fit_is_refused_without_repeating_it() {
        for bad in [
            "token_sha256 = \"s3cret\"\nmch_ids = \"*\"",
            "token_sha256 = [\"s3cret\"]\nmch_ids = \"*\"",
            "mch_ids = [\"s3cret\"]",
            "mch_ids = [\"*\", \"1900000109\"]",
            "token = \"s3cret\"\nmch_ids = \"*\"",
            "s3cret",
            "",
        ] {
            let error = file(bad).err().unwrap().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
        let hash = "0a".repeat(32);
        let twice = format!("token_sha256 = [\"{hash}\", \"{hash}\"]\nmch_ids = \"*\"");
        assert!(matches!(file(&twice), Err(InvalidClients::Token)));
        let again = "mch_ids = \"*\"\n[[client]]\nname = \"shop\"\nmch_ids = \"*\"";
        assert!(matches!(file(again), Err(InvalidClients::Name)));
        assert!(matches!(parse("client = []"), Err(InvalidClients::Empty)));
        let third = file("mch_ids = 3").err().unwrap().to_string();
        assert!(third.contains("line 3"), "{third}");
    }
}
