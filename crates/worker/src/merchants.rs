//! The merchants file: whose orders we take, and the keys that sign and verify for them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;
use wechatpay_v2::{ApiKey, AppId, Credentials, MchId, SignType};

/// WeChat takes a `notify_url` of 256 bytes; ours adds `/notify/{mch_id}/payment` to the base.
const NOTIFY_BASE_MAX: usize = 200;

/// More than one worker can begin: beyond it a figure is a slip of the hand.
const REQUESTS_PER_SECOND_MAX: u32 = 10_000;

/// The merchants we act for. Clones share them, also when they are replaced.
#[derive(Clone, Debug, Default)]
pub struct Merchants(Arc<RwLock<Map>>);

pub(crate) type Map = Arc<HashMap<MchId, Arc<Merchant>>>;

/// One of them.
#[derive(Clone, Debug)]
pub struct Merchant {
    /// Its number.
    pub mch_id: MchId,
    /// The apps that belong to it.
    pub appids: Vec<AppId>,
    /// The algorithm of its new orders.
    pub sign_type: SignType,
    /// Where WeChat reaches our ingress.
    pub notify_base_url: String,
    /// Signs and verifies.
    pub key: ApiKey,
    /// Still verifies.
    pub previous_key: Option<ApiKey>,
    /// How many calls one worker begins for it in a second.
    pub requests_per_second: u32,
}

/// What an entry of the file comes to.
#[derive(Debug)]
pub struct MerchantEntry {
    /// As written in the file, unless it looks like a key.
    pub mch_id: String,
    /// The files that hold its keys.
    pub key_files: Vec<PathBuf>,
    /// The merchant, or what is wrong with it.
    pub merchant: Result<Merchant, BadMerchants>,
}

/// The merchants file cannot be used. Says where and why, and never what a key is.
#[derive(Debug, thiserror::Error)]
pub enum BadMerchants {
    /// The file cannot be read.
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: std::io::ErrorKind,
    },
    /// It is not TOML of the right shape.
    #[error("the file is not valid: {0}")]
    Shape(String),
    /// A merchant's field breaks its rule.
    #[error("merchant {mch_id}: {problem}")]
    Merchant {
        /// As written in the file.
        mch_id: String,
        /// Which field, and its rule.
        problem: String,
    },
    /// There is none.
    #[error("the file names no [[merchant]]")]
    Empty,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    merchant: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    mch_id: String,
    appids: Vec<String>,
    sign_type: Option<String>,
    notify_base_url: String,
    api_key_file: Option<PathBuf>,
    api_key_env: Option<String>,
    previous_api_key_file: Option<PathBuf>,
    previous_api_key_env: Option<String>,
    requests_per_second: Option<u32>,
}

impl Merchants {
    /// Reads the file. Key files are relative to its folder.
    ///
    /// # Errors
    /// When anything in it cannot be used.
    pub fn load(path: &Path) -> Result<Self, BadMerchants> {
        let merchants = Self::entries(path)?.into_iter().map(|entry| entry.merchant);
        Self::of(merchants.collect::<Result<_, _>>()?)
    }

    /// Reads the file entry by entry, whatever is wrong with some of them.
    ///
    /// # Errors
    /// When it cannot be read, or is not TOML of the right shape.
    pub fn entries(path: &Path) -> Result<Vec<MerchantEntry>, BadMerchants> {
        let text = read(path)?;
        // Only the place: the text around it is somebody's configuration.
        let file: File =
            toml::from_str(&text).map_err(|error| BadMerchants::Shape(shape(&text, &error)))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let entry = |entry: Entry| MerchantEntry {
            mch_id: shown(&entry.mch_id).to_owned(),
            key_files: entry.key_files(folder),
            merchant: entry.check(folder),
        };
        Ok(file.merchant.into_iter().map(entry).collect())
    }

    /// # Errors
    /// When there is none, or a number appears twice.
    pub fn of(list: Vec<Merchant>) -> Result<Self, BadMerchants> {
        let mut merchants = HashMap::with_capacity(list.len());
        for merchant in list {
            let mch_id = merchant.mch_id.clone();
            if merchants.insert(mch_id.clone(), Arc::new(merchant)).is_some() {
                let problem = "mch_id must appear once".to_owned();
                return Err(BadMerchants::Merchant { mch_id: mch_id.to_string(), problem });
            }
        }
        if merchants.is_empty() {
            return Err(BadMerchants::Empty);
        }
        Ok(Self(Arc::new(RwLock::new(Arc::new(merchants)))))
    }

    /// The merchant of this number, if it is ours. Whoever has it keeps it as it is, whatever
    /// replaces it meanwhile.
    #[must_use]
    pub fn get(&self, mch_id: &MchId) -> Option<Arc<Merchant>> {
        self.all().get(mch_id).cloned()
    }

    /// Takes over what another file says, for every clone at once.
    pub fn replace(&self, by: &Self) {
        let new = by.all();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// All of them, as they are now.
    pub(crate) fn all(&self) -> Map {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Merchant {
    /// Unless the file says otherwise. WeChat publishes no figure for the calls that we make; the
    /// lowest that it publishes for another is 150 (refund, reference 5.5), which two workers with
    /// half of it each do not exceed.
    pub const REQUESTS_PER_SECOND: u32 = 75;

    /// Signs a call about an order that keeps `sign_type`.
    #[must_use]
    pub fn credentials(&self, sign_type: SignType) -> Credentials {
        Credentials { mch_id: self.mch_id.clone(), key: self.key.clone(), sign_type }
    }

    /// The keys that verify: the current one first.
    pub fn keys(&self) -> impl Iterator<Item = &ApiKey> {
        std::iter::once(&self.key).chain(&self.previous_key)
    }

    /// Where WeChat is to post the payment notifications of this merchant.
    #[must_use]
    pub fn notify_url(&self) -> String {
        format!("{}/notify/{}/payment", self.notify_base_url, self.mch_id)
    }
}

impl Entry {
    fn key_files(&self, folder: &Path) -> Vec<PathBuf> {
        let files = [&self.api_key_file, &self.previous_api_key_file].into_iter().flatten();
        files.map(|file| folder.join(file)).collect()
    }

    fn check(self, folder: &Path) -> Result<Merchant, BadMerchants> {
        let named = shown(&self.mch_id).to_owned();
        let wrong = |problem: String| BadMerchants::Merchant { mch_id: named.clone(), problem };
        let rule = |error: wechatpay_v2::FieldError| wrong(error.to_string());
        let appids: Result<Vec<_>, _> = self.appids.into_iter().map(AppId::parse).collect();
        let appids = appids.map_err(rule)?;
        if appids.is_empty() {
            return Err(wrong("appids must name at least one".to_owned()));
        }
        let notify_base_url =
            notify_base(&self.notify_base_url).map_err(|p| wrong(p.to_owned()))?;
        let sign_type = self.sign_type.as_deref().map(SignType::parse).transpose();
        let key = key("api_key", self.api_key_file, self.api_key_env, folder);
        let previous = key_text(
            "previous_api_key",
            self.previous_api_key_file,
            self.previous_api_key_env,
            folder,
        );
        let requests_per_second = self.requests_per_second.unwrap_or(Merchant::REQUESTS_PER_SECOND);
        if !(1..=REQUESTS_PER_SECOND_MAX).contains(&requests_per_second) {
            let range = format!("requests_per_second must be 1 to {REQUESTS_PER_SECOND_MAX}");
            return Err(wrong(range));
        }
        Ok(Merchant {
            mch_id: MchId::parse(self.mch_id).map_err(rule)?,
            appids,
            sign_type: sign_type.map_err(rule)?.unwrap_or_default(),
            notify_base_url,
            key: key.map_err(wrong)?,
            previous_key: previous
                .map_err(wrong)?
                .map(|text| parse_key("previous_api_key", &text))
                .transpose()
                .map_err(wrong)?,
            requests_per_second,
        })
    }
}

fn notify_base(text: &str) -> Result<String, &'static str> {
    let rule = "notify_base_url must be http(s)://host[:port][/path], at most 200 bytes, without \
                query or fragment";
    let plain = text.len() <= NOTIFY_BASE_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.contains(['?', '#', '@']);
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if plain && !host.is_empty() && !host.starts_with('/') => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(rule),
    }
}

fn key(
    name: &str,
    file: Option<PathBuf>,
    variable: Option<String>,
    folder: &Path,
) -> Result<ApiKey, String> {
    let text = key_text(name, file, variable, folder)?
        .ok_or_else(|| format!("{name}_file or {name}_env must be given"))?;
    parse_key(name, &text)
}

fn parse_key(name: &str, text: &str) -> Result<ApiKey, String> {
    ApiKey::parse(text.trim()).map_err(|error| format!("{name} must be {}", error.rule))
}

/// Where the file is wrong, and how, without the values that stand there.
fn shape(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().and_then(|span| text.get(..span.start));
    let line = line.map_or(1, |before| before.matches('\n').count() + 1);
    let named = ["unknown field", "missing field", "duplicate key"];
    let what = match named.iter().any(|start| error.message().starts_with(start)) {
        true => error.message(),
        false => "this is not how a merchant is written",
    };
    format!("line {line}: {what}")
}

/// A name that somebody chose, unless it looks like the key itself, pasted into the wrong place.
fn shown(name: &str) -> &str {
    let key = name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if key { "…" } else { name }
}

fn key_text(
    name: &str,
    file: Option<PathBuf>,
    variable: Option<String>,
    folder: &Path,
) -> Result<Option<String>, String> {
    match (file, variable) {
        (Some(_), Some(_)) => Err(format!("{name}_file and {name}_env must not both be given")),
        (Some(path), None) => {
            std::fs::read_to_string(folder.join(&path)).map(Some).map_err(|error| {
                let path = path.to_string_lossy();
                format!("{name}_file {} cannot be read: {}", shown(&path), error.kind())
            })
        }
        (None, Some(variable)) => std::env::var(&variable)
            .map(Some)
            .map_err(|_| format!("the variable {} of {name}_env must be set", shown(&variable))),
        (None, None) => Ok(None),
    }
}

fn read(path: &Path) -> Result<String, BadMerchants> {
    std::fs::read_to_string(path)
        .map_err(|error| BadMerchants::Unreadable { path: path.to_owned(), reason: error.kind() })
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A merchant whose key is `key`, 32 times.
    pub(crate) fn merchant(mch_id: &str, key: &str, requests_per_second: u32) -> Merchant {
        Merchant {
            mch_id: MchId::parse(mch_id).unwrap(),
            appids: vec![AppId::parse("wx8888888888888888").unwrap()],
            sign_type: SignType::Md5,
            notify_base_url: "https://pay.example.com".to_owned(),
            key: ApiKey::parse(&key.repeat(32)).unwrap(),
            previous_key: None,
            requests_per_second,
        }
    }
}
