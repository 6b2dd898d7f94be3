//! The clients file (`WXPAY_CLIENTS_FILE`): which shop may act for which merchants. The ingress
//! knows a client by its token, the worker by its user on the broker.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::{fs, io};

use serde::Deserialize;
use wechatpay_v2::MchId;

use crate::hex;

/// One `[[client]]` table of the file.
#[derive(Clone, Debug)]
pub struct Client {
    pub name: String,
    /// SHA-256 of each of its tokens. None for a client that uses only AMQP.
    pub token_hashes: Vec<[u8; 32]>,
    pub scope: Scope,
    /// Its user on the broker, if it publishes commands itself.
    pub amqp_user: Option<String>,
}

/// The merchants that a client may act for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    Only(BTreeSet<MchId>),
}

impl Scope {
    #[must_use]
    pub fn contains(&self, mch_id: &MchId) -> bool {
        match self {
            Self::All => true,
            Self::Only(mch_ids) => mch_ids.contains(mch_id),
        }
    }
}

/// Why a clients file cannot be used. Repeats nothing of it but a client's name: a token may stand
/// where its hash belongs.
#[derive(Debug, thiserror::Error)]
pub enum ClientsFileError {
    #[error("the file cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error(
        "the file is not valid in line {line}: each [[client]] has a name, mch_ids, and perhaps \
         token_sha256 and amqp_user; compare deploy/clients.sample.toml"
    )]
    Malformed { line: usize },
    #[error("the file names no client")]
    Empty,
    #[error("client {name:?}: {rule}")]
    Client {
        name: String,
        /// Begins with the name of the field.
        rule: &'static str,
    },
}

pub fn read(path: &Path) -> Result<Vec<Client>, ClientsFileError> {
    parse(&fs::read_to_string(path)?)
}

pub fn parse(text: &str) -> Result<Vec<Client>, ClientsFileError> {
    let File { client: entries } = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.unwrap_or_default().matches('\n').count() + 1;
        ClientsFileError::Malformed { line }
    })?;
    if entries.is_empty() {
        return Err(ClientsFileError::Empty);
    }
    let mut seen = Seen::default();
    entries.into_iter().map(|entry| seen.check(entry)).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    client: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    token_sha256: Texts,
    mch_ids: Texts,
    amqp_user: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Default for Texts {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// What no second client may have.
#[derive(Default)]
struct Seen {
    names: HashSet<String>,
    token_hashes: HashSet<[u8; 32]>,
    amqp_users: HashSet<String>,
}

impl Seen {
    fn check(&mut self, entry: Entry) -> Result<Client, ClientsFileError> {
        let name = entry.name;
        let fault = |rule| ClientsFileError::Client { name: name.clone(), rule };
        if name.trim().is_empty() || !self.names.insert(name.clone()) {
            return Err(fault("name must be given, and no other client's"));
        }
        let token_hashes = parse_hashes(entry.token_sha256).map_err(fault)?;
        if !token_hashes.iter().all(|hash| self.token_hashes.insert(*hash)) {
            return Err(fault("token_sha256 gives a token for the second time"));
        }
        let scope = parse_scope(entry.mch_ids).map_err(fault)?;
        if let Some(user) = &entry.amqp_user
            && (user.is_empty() || !self.amqp_users.insert(user.clone()))
        {
            return Err(fault("amqp_user must be a name, and no other client's"));
        }
        Ok(Client { name, token_hashes, scope, amqp_user: entry.amqp_user })
    }
}

fn parse_hashes(texts: Texts) -> Result<Vec<[u8; 32]>, &'static str> {
    let rule = "token_sha256 must be a list of texts of 64 hex digits";
    match texts {
        Texts::One(_) => Err(rule),
        Texts::Many(texts) => {
            let hashes = texts.iter().map(|text| hex::decode(text).ok_or(rule));
            hashes.collect()
        }
    }
}

fn parse_scope(texts: Texts) -> Result<Scope, &'static str> {
    let rule = "mch_ids must be \"*\" or a list of at least one merchant number";
    match texts {
        Texts::One(star) if star == "*" => Ok(Scope::All),
        Texts::One(_) => Err(rule),
        Texts::Many(texts) if texts == ["*"] => Ok(Scope::All),
        Texts::Many(texts) if texts.is_empty() => Err(rule),
        Texts::Many(texts) => {
            let mch_ids = texts.into_iter().map(MchId::parse).collect::<Result<_, _>>();
            mch_ids.map(Scope::Only).map_err(|_| rule)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "bb6cb4e4b1a0ca1ad8c0ab7f59b9a3a0a8be1bcf6a8d0dd4d4f5ad5f2c57e6f4";

    fn parse_entry(entry: &str) -> Result<Vec<Client>, ClientsFileError> {
        parse(&format!("[[client]]\nname = \"shop\"\n{entry}"))
    }

    fn error(entry: &str) -> String {
        parse_entry(entry).err().unwrap().to_string()
    }

    #[test]
    fn sample_is_valid() {
        let clients = parse(include_str!("../../../deploy/clients.sample.toml")).unwrap();
        assert_eq!(clients.len(), 2);
        assert_eq!(clients[0].amqp_user.as_deref(), Some("ticket-shop"));
        assert_eq!(clients[1].token_hashes, [[0x11; 32], [0x22; 32]]);
    }

    #[test]
    fn scope_holds_the_merchants_named() {
        let mch_id = |text| MchId::parse(text).unwrap();
        for star in ["\"*\"", "[\"*\"]"] {
            let clients = parse_entry(&format!("mch_ids = {star}")).unwrap();
            assert!(clients[0].scope.contains(&mch_id("1")));
        }
        let clients = parse_entry("mch_ids = [\"1900000109\"]").unwrap();
        assert!(clients[0].scope.contains(&mch_id("1900000109")));
        assert!(!clients[0].scope.contains(&mch_id("1900000110")));
    }

    #[test]
    fn error_names_client_and_field_and_no_value() {
        let hashes = "token_sha256 must be a list of texts of 64 hex digits";
        let scope = "mch_ids must be \"*\" or a list of at least one merchant number";
        let user = "amqp_user must be a name, and no other client's";
        for (bad, rule) in [
            ("token_sha256 = \"s3cret\"\nmch_ids = \"*\"", hashes),
            ("token_sha256 = [\"s3cret\"]\nmch_ids = \"*\"", hashes),
            ("mch_ids = [\"s3cret\"]", scope),
            ("mch_ids = [\"*\", \"1900000109\"]", scope),
            ("mch_ids = \"1900000109\"", scope),
            ("mch_ids = []", scope),
            ("mch_ids = \"*\"\namqp_user = \"\"", user),
        ] {
            assert_eq!(error(bad), format!("client \"shop\": {rule}"));
        }
    }

    #[test]
    fn malformed_file_is_refused_with_the_line() {
        for bad in [
            "mch_ids = 3",
            "token = \"s3cret\"\nmch_ids = \"*\"",
            "token_sha256 = [3]\nmch_ids = \"*\"",
            "s3cret",
            "",
        ] {
            let text = error(bad);
            assert!(text.contains("not valid in line") && !text.contains("s3cret"), "{text}");
        }
        assert!(error("mch_ids = 3").contains("line 3"));
        assert!(matches!(parse("client = 1"), Err(ClientsFileError::Malformed { line: 1 })));
    }

    #[test]
    fn file_without_clients_is_refused() {
        for empty in ["", "client = []"] {
            assert!(matches!(parse(empty), Err(ClientsFileError::Empty)), "{empty:?}");
        }
    }

    #[test]
    fn no_two_clients_share_name_token_or_user() {
        let two = |first: &str, second: &str| {
            let second = format!("[[client]]\nmch_ids = \"*\"\n{second}");
            error(&format!("mch_ids = \"*\"\n{first}\n{second}"))
        };
        assert!(two("", "name = \"shop\"").contains("name must be given"));
        let first = format!("token_sha256 = [\"{HASH}\"]");
        let second = format!("token_sha256 = [\"{}\"]\nname = \"other\"", HASH.to_uppercase());
        assert!(two(&first, &second).contains("a token for the second time"));
        let user = "amqp_user = \"user\"";
        assert!(two(user, &format!("{user}\nname = \"other\"")).contains("amqp_user must be"));
    }
}
