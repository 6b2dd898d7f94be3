//! Reads the merchants file.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use service::SettingError;
use wechatpay_v2::{ApiKey, AppId, MchId, SignType};

use crate::config::Merchant;

const VARIABLE: &str = "WXPAY_MERCHANTS_FILE";

// The worker reads the same file; settings that only the worker has are ignored here.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    merchant: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    mch_id: MchId,
    appids: Vec<AppId>,
    #[serde(default)]
    sign_type: SignType,
    notify_base_url: Option<String>,
    api_key_file: Option<PathBuf>,
    api_key_env: Option<String>,
}

/// Reads the merchants and their keys; `variable` looks one up in the environment.
pub(crate) fn load(
    path: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Merchant>, SettingError> {
    let wrong = |rule: String| SettingError::new(VARIABLE, rule);
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    // Not the error's Display: it quotes the line, and the line may contain a key.
    let file: File = toml::from_str(&text)
        .map_err(|error| wrong(format!("{}: {}", path.display(), error.message())))?;
    if file.merchant.is_empty() {
        return Err(wrong(format!("{}: has no [[merchant]]", path.display())));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut merchants: Vec<Merchant> = Vec::new();
    for entry in file.merchant {
        let mch_id = entry.mch_id.clone();
        if merchants.iter().any(|merchant| merchant.mch_id == mch_id) {
            return Err(wrong(format!("merchant {mch_id} is listed twice")));
        }
        let key = read_key(&entry, folder, &variable)
            .map_err(|rule| wrong(format!("merchant {mch_id}: {rule}")))?;
        merchants.push(Merchant {
            mch_id,
            appids: entry.appids,
            key,
            sign_type: entry.sign_type,
            notify_base_url: entry.notify_base_url,
        });
    }
    Ok(merchants)
}

fn read_key(
    entry: &Entry,
    folder: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<ApiKey, String> {
    let text = match (&entry.api_key_file, &entry.api_key_env) {
        (Some(file), None) => {
            let file = folder.join(file);
            std::fs::read_to_string(&file)
                .map_err(|error| format!("api_key_file {}: {error}", file.display()))?
        }
        (None, Some(name)) => {
            variable(name).ok_or_else(|| format!("api_key_env: {name} is not set"))?
        }
        _ => return Err("needs one of api_key_file and api_key_env".to_owned()),
    };
    ApiKey::parse(text.trim_end()).map_err(|error| error.to_string())
}
