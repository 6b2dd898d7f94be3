//! The merchants file (`WXPAY_MERCHANTS_FILE`), and the key files that it names.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use serde::Deserialize;
use wechatpay_v2::{ApiKey, AppId, FieldError, MchId, SignType};

use super::merchant::Merchant;

/// WeChat takes a `notify_url` of 256 bytes. `/notify/{mch_id}/payment` is added to the base.
const NOTIFY_BASE_BYTES_MAX: usize = 200;
/// Sanity limit: a worker cannot begin more calls, and higher values are typos.
const REQUESTS_PER_SECOND_MAX: u32 = 10_000;

/// Why a merchants file cannot be used. Never repeats a key.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMerchants {
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: io::ErrorKind },
    #[error("the file is not valid: {0}")]
    Malformed(String),
    #[error("merchant {mch_id}: {problem}")]
    Merchant {
        /// As written in the file.
        mch_id: String,
        /// The field and its rule.
        problem: String,
    },
    #[error("the file names no [[merchant]]")]
    Empty,
}

/// One `[[merchant]]`, usable or not.
#[derive(Debug)]
pub(crate) struct MerchantEntry {
    /// As written in the file, unless it looks like a key.
    pub(crate) mch_id: String,
    pub(crate) key_files: Vec<PathBuf>,
    pub(crate) merchant: Result<Merchant, InvalidMerchants>,
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

/// Reads the file entry by entry. Key files are relative to its folder.
///
/// # Errors
/// When it cannot be read, or is malformed. What is wrong with one merchant is in its entry.
pub(crate) fn read_entries(path: &Path) -> Result<Vec<MerchantEntry>, InvalidMerchants> {
    let text = fs::read_to_string(path).map_err(|error| InvalidMerchants::Unreadable {
        path: path.to_owned(),
        reason: error.kind(),
    })?;
    let file: File = toml::from_str(&text)
        .map_err(|error| InvalidMerchants::Malformed(malformed(&text, &error)))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let entries = file.merchant.into_iter().map(|entry| MerchantEntry {
        mch_id: printable(&entry.mch_id).to_owned(),
        key_files: entry.key_files(folder),
        merchant: entry.parse(folder),
    });
    Ok(entries.collect())
}

impl Entry {
    fn key_files(&self, folder: &Path) -> Vec<PathBuf> {
        let files = [&self.api_key_file, &self.previous_api_key_file].into_iter().flatten();
        files.map(|file| folder.join(file)).collect()
    }

    fn parse(self, folder: &Path) -> Result<Merchant, InvalidMerchants> {
        let mch_id = printable(&self.mch_id).to_owned();
        self.parse_fields(folder).map_err(|problem| InvalidMerchants::Merchant { mch_id, problem })
    }

    /// The error is the field and its rule.
    fn parse_fields(self, folder: &Path) -> Result<Merchant, String> {
        let rule = |error: FieldError| error.to_string();
        let appids: Result<Vec<_>, _> = self.appids.into_iter().map(AppId::parse).collect();
        let appids = appids.map_err(rule)?;
        if appids.is_empty() {
            return Err("appids must name at least one".to_owned());
        }
        let requests_per_second = self.requests_per_second;
        let is_valid = |rate| (1..=REQUESTS_PER_SECOND_MAX).contains(&rate);
        if !requests_per_second.is_none_or(is_valid) {
            return Err(format!("requests_per_second must be 1 to {REQUESTS_PER_SECOND_MAX}"));
        }
        let notify_base_url = notify_base(&self.notify_base_url)?;
        let sign_type = self.sign_type.as_deref().map(SignType::parse).transpose();
        let key = KeySource::new("api_key", self.api_key_file, self.api_key_env);
        let previous_key = KeySource::new(
            "previous_api_key",
            self.previous_api_key_file,
            self.previous_api_key_env,
        );
        Ok(Merchant {
            mch_id: MchId::parse(self.mch_id).map_err(rule)?,
            appids,
            sign_type: sign_type.map_err(rule)?.unwrap_or_default(),
            notify_base_url,
            key: key
                .read(folder)?
                .ok_or_else(|| "api_key_file or api_key_env must be given".to_owned())?,
            previous_key: previous_key.read(folder)?,
            requests_per_second,
        })
    }
}

/// Where a key is: in a file, in a variable, or nowhere.
struct KeySource {
    name: &'static str,
    file: Option<PathBuf>,
    variable: Option<String>,
}

impl KeySource {
    fn new(name: &'static str, file: Option<PathBuf>, variable: Option<String>) -> Self {
        Self { name, file, variable }
    }

    fn read(&self, folder: &Path) -> Result<Option<ApiKey>, String> {
        let name = self.name;
        let text = match (&self.file, &self.variable) {
            (Some(_), Some(_)) => {
                return Err(format!("{name}_file and {name}_env must not both be given"));
            }
            (Some(path), None) => fs::read_to_string(folder.join(path)).map_err(|error| {
                let path = path.to_string_lossy();
                format!("{name}_file {} cannot be read: {}", printable(&path), error.kind())
            })?,
            (None, Some(variable)) => env::var(variable).map_err(|_| {
                format!("the variable {} of {name}_env must be set", printable(variable))
            })?,
            (None, None) => return Ok(None),
        };
        let key = ApiKey::parse(text.trim());
        key.map(Some).map_err(|error| format!("{name} must be {}", error.rule))
    }
}

fn notify_base(text: &str) -> Result<String, &'static str> {
    let is_plain = text.len() <= NOTIFY_BASE_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.contains(['?', '#', '@']);
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if is_plain && !host.is_empty() && !host.starts_with('/') => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("notify_base_url must be http(s)://host[:port][/path], at most 200 bytes, \
                  without query or fragment"),
    }
}

/// Where and how the file is malformed, without its values.
fn malformed(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().and_then(|span| text.get(..span.start));
    let line = line.map_or(1, |before| before.matches('\n').count() + 1);
    // These messages name a field. Others quote the value that stands there.
    let harmless = ["unknown field", "missing field", "duplicate key"];
    let message = if harmless.iter().any(|start| error.message().starts_with(start)) {
        error.message()
    } else {
        "this is not how a merchant is written; compare deploy/merchants.sample.toml"
    };
    format!("line {line}: {message}")
}

/// The name, unless it looks like a key that was pasted into the wrong place.
fn printable(name: &str) -> &str {
    let may_be_key = name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if may_be_key { "…" } else { name }
}
