//! Which AMQP users may ask for what (`WXPAY_CLIENTS_FILE`): a command needs the name of its
//! publisher, vouched for by the broker, and is held to that client's merchants (design 7).

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use wechatpay_v2::MchId;

/// The clients by their AMQP users. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Who has checked its clients already.
    ingress_user: Option<String>,
    scopes: Arc<HashMap<String, Scope>>,
}

#[derive(Clone, Debug)]
enum Scope {
    Every,
    Only(Vec<MchId>),
}

/// What stands in an entry of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEntry {
    /// Its name.
    pub name: String,
    /// The merchants it names; none when it may act for every one.
    pub mch_ids: Vec<MchId>,
    /// Whether it may publish commands itself.
    pub has_amqp_user: bool,
    /// Why the ingress refuses the file, if it is for this entry.
    pub fault: Option<&'static str>,
}

/// The clients file cannot be used. Says which client and why; it holds no secrets but hashes.
#[derive(Debug, thiserror::Error)]
pub enum BadClients {
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(std::io::ErrorKind),
    /// It is not TOML of the right shape.
    #[error("the file is not valid: {0}")]
    Shape(String),
    /// A client's field breaks its rule.
    #[error("client {name}: {rule}")]
    Client {
        /// As written in the file.
        name: String,
        /// Which field, and its rule.
        rule: &'static str,
    },
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
    /// The ingress's business; looked at for an operator only.
    token_sha256: Option<toml::Value>,
    mch_ids: MchIds,
    amqp_user: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum MchIds {
    One(String),
    Many(Vec<String>),
}

impl Clients {
    /// Reads the file.
    ///
    /// # Errors
    /// When anything in it cannot be used.
    pub fn load(path: &Path, ingress_user: Option<String>) -> Result<Self, BadClients> {
        Self::parse(&read(path)?, ingress_user)
    }

    /// Reads the file for a person who asks what is in it, with the ingress's eyes too.
    ///
    /// # Errors
    /// When [`Clients::load`] fails.
    pub fn entries(path: &Path) -> Result<Vec<ClientEntry>, BadClients> {
        let text = read(path)?;
        Self::parse(&text, None)?;
        let (mut names, mut tokens) = (HashSet::new(), HashSet::new());
        let entry = |entry: Entry| {
            let fault = if entry.name.trim().is_empty() || !names.insert(entry.name.clone()) {
                Some("its name must be given, and no other client's")
            } else {
                token_fault(entry.token_sha256.as_ref(), &mut tokens)
            };
            let mch_ids = match scope(entry.mch_ids) {
                Ok(Scope::Only(mch_ids)) => mch_ids,
                Ok(Scope::Every) | Err(_) => Vec::new(),
            };
            let has_amqp_user = entry.amqp_user.is_some();
            ClientEntry { name: entry.name, mch_ids, has_amqp_user, fault }
        };
        Ok(file(&text)?.client.into_iter().map(entry).collect())
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// When anything in it cannot be used.
    pub fn parse(text: &str, ingress_user: Option<String>) -> Result<Self, BadClients> {
        let mut scopes = HashMap::new();
        for Entry { name, mch_ids, amqp_user, .. } in file(text)?.client {
            let wrong = |rule| BadClients::Client { name: name.clone(), rule };
            let scope = scope(mch_ids).map_err(wrong)?;
            let Some(user) = amqp_user else { continue };
            if user.is_empty() || scopes.insert(user, scope).is_some() {
                return Err(wrong("amqp_user must be a name, and no other client's"));
            }
        }
        Ok(Self { ingress_user, scopes: Arc::new(scopes) })
    }

    /// Whether this publisher may ask for something about this merchant. One that gave no name may
    /// ask for nothing.
    #[must_use]
    pub fn allow(&self, user_id: Option<&str>, mch_id: &MchId) -> bool {
        let Some(user_id) = user_id else { return false };
        if self.ingress_user.as_deref() == Some(user_id) {
            return true;
        }
        match self.scopes.get(user_id) {
            Some(Scope::Every) => true,
            Some(Scope::Only(mch_ids)) => mch_ids.contains(mch_id),
            None => false,
        }
    }
}

fn read(path: &Path) -> Result<String, BadClients> {
    std::fs::read_to_string(path).map_err(|error| BadClients::Unreadable(error.kind()))
}

fn file(text: &str) -> Result<File, BadClients> {
    toml::from_str(text).map_err(|error| BadClients::Shape(error.message().to_owned()))
}

/// What is wrong with the hashes of a client's tokens; `known` are those seen before.
fn token_fault(hashes: Option<&toml::Value>, known: &mut HashSet<String>) -> Option<&'static str> {
    let rule = Some("token_sha256 must be a list of texts of 64 hex digits");
    let Some(hashes) = hashes?.as_array() else { return rule };
    for hash in hashes {
        let is_hash =
            |hash: &&str| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(hash) = hash.as_str().filter(is_hash) else { return rule };
        if !known.insert(hash.to_ascii_lowercase()) {
            return Some("the same token is given twice");
        }
    }
    None
}

fn scope(mch_ids: MchIds) -> Result<Scope, &'static str> {
    let rule = "mch_ids must be \"*\" or a list of merchant numbers";
    let listed = match mch_ids {
        MchIds::One(star) if star == "*" => return Ok(Scope::Every),
        MchIds::One(_) => return Err(rule),
        MchIds::Many(listed) if listed == ["*"] => return Ok(Scope::Every),
        MchIds::Many(listed) => listed,
    };
    let parsed: Result<Vec<_>, _> = listed.into_iter().map(MchId::parse).collect();
    match parsed {
        Ok(mch_ids) if !mch_ids.is_empty() => Ok(Scope::Only(mch_ids)),
        _ => Err(rule),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../../deploy/clients.sample.toml");

    #[test]
    fn a_client_is_held_to_its_merchants() {
        let clients = Clients::parse(SAMPLE, Some("ingress".to_owned())).unwrap();
        let (ours, other) = (MchId::parse("1900000109").unwrap(), MchId::parse("1").unwrap());
        assert!(clients.allow(Some("ticket-shop"), &ours));
        assert!(!clients.allow(Some("ticket-shop"), &other));
        assert!(clients.allow(Some("ingress"), &other));
        assert!(!clients.allow(Some("nobody"), &ours));
        assert!(!clients.allow(None, &ours));
    }

    #[test]
    fn without_an_ingress_user_nobody_is_above_the_file() {
        let clients = Clients::parse(SAMPLE, None).unwrap();
        assert!(!clients.allow(Some("ingress"), &MchId::parse("1900000109").unwrap()));
    }

    #[test]
    fn a_person_is_told_what_the_ingress_refuses() {
        let mut known = HashSet::new();
        let mut fault = |text: &str| {
            let table: toml::Table = format!("it = {text}").parse().unwrap();
            token_fault(table.get("it"), &mut known)
        };
        let (one, upper) = ("0a".repeat(32), "0A".repeat(32));
        for bad in ["3", "\"s3cret\"", "[\"s3cret\"]", "[3]", &format!("[\"{}g\"]", &one[1..])] {
            assert!(fault(bad).is_some_and(|fault| fault.contains("64 hex digits")), "{bad}");
        }
        assert_eq!(fault(&format!("[\"{one}\"]")), None);
        assert_eq!(fault(&format!("[\"{upper}\"]")), Some("the same token is given twice"));
    }

    #[test]
    fn bad_files_are_refused() {
        for bad in [
            "client = 1",
            "[[client]]\nname = \"a\"\nmch_ids = []",
            "[[client]]\nname = \"a\"\nmch_ids = [\"x\"]",
            "[[client]]\nname = \"a\"\nmch_ids = \"1\"",
            "[[client]]\nname = \"a\"\nmch_ids = \"*\"\nunknown = 1",
            "[[client]]\nname = \"a\"\nmch_ids = \"*\"\namqp_user = \"\"",
        ] {
            assert!(Clients::parse(bad, None).is_err(), "{bad}");
        }
    }
}
