//! The signatures, and the merchants with their keys. No part of a key is ever shown.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::report::Check;
use crate::merchants::{self, InvalidMerchants, Merchant, MerchantEntry, Merchants};
use crate::operator::output::{counted, plain};
use wechatpay_v2::{ApiKey, Fields, MchId, SignType, sign, verify};

/// The example in WeChat's documentation of signatures: key, message and results.
const EXAMPLE_KEY: &str = "192006250b4c09247ec02edce69f6a2d";
const EXAMPLE: [(&str, &str); 5] = [
    ("appid", "wxd930ea5d5a258f4f"),
    ("mch_id", "10000100"),
    ("device_info", "1000"),
    ("body", "test"),
    ("nonce_str", "ibuaiVcKdpRxkhJA"),
];
const EXAMPLE_SIGNS: [(SignType, &str); 2] = [
    (SignType::Md5, "9A0A8659F005D6984697E2CA0A9CF3B7"),
    (SignType::HmacSha256, "6A9AE1657590FD6257D693A078E1C3E4BB6BA4DC30B23E0EE2496E54170DACD6"),
];
/// The mode bits for reading and writing by users outside the owner and the group.
const OTHERS: u32 = 0o006;

pub(super) fn self_test() -> Check {
    let name = "keys.self_test";
    let failing = EXAMPLE_SIGNS.iter().find(|(kind, expected)| !is_correct(*kind, expected));
    match failing {
        None => Check::ok(name, "MD5 and HMAC-SHA256 sign WeChat's official example as published"),
        Some((kind, _)) => {
            let finding =
                format!("{} gives a wrong signature for WeChat's official example", kind.as_str());
            Check::bad(name, finding, "do not take orders with this build; install another")
        }
    }
}

fn is_correct(kind: SignType, expected: &str) -> bool {
    let Ok(key) = ApiKey::parse(EXAMPLE_KEY) else { return false };
    let message: Fields = EXAMPLE.into_iter().collect();
    let signed: Fields = EXAMPLE.into_iter().chain([("sign", expected)]).collect();
    sign(&message, &key, kind) == expected && verify(&signed, &key) == Ok(kind)
}

/// Checks the merchants file. The second value is all merchants, `None` when one cannot be used.
pub(super) fn merchants(file: &Path) -> (Vec<Check>, Option<Vec<MchId>>) {
    let name = "merchants.file";
    let remedy = "fix the file of WXPAY_MERCHANTS_FILE, see \
                  deploy/merchants.sample.toml; then `kill -HUP` the workers";
    let shown = plain(&file.to_string_lossy());
    let entries = match merchants::read_entries(file) {
        Ok(entries) => entries,
        // The text of this error names the file.
        Err(error @ InvalidMerchants::Unreadable { .. }) => {
            return (vec![Check::bad(name, plain(&error.to_string()), remedy)], None);
        }
        Err(error) => {
            let finding = format!("{shown}: {}", plain(&error.to_string()));
            return (vec![Check::bad(name, finding, remedy)], None);
        }
    };
    let good = || entries.iter().filter_map(|entry| entry.merchant.as_ref().ok());
    let is_whole = good().count() == entries.len();
    let mut checks = match Merchants::of(good().cloned().collect()) {
        Err(error) if is_whole => {
            vec![Check::bad(name, format!("{shown}: {}", plain(&error.to_string())), remedy)]
        }
        _ => vec![Check::ok(name, format!("{shown} names {}", counted(entries.len(), "merchant")))],
    };
    let known = is_whole.then(|| good().map(|merchant| merchant.mch_id.clone()).collect());
    checks.extend(entries.iter().flat_map(|entry| merchant(entry, remedy)));
    (checks, known)
}

fn merchant(entry: &MerchantEntry, remedy: &str) -> Vec<Check> {
    let name = format!("merchants.{}", plain(&entry.mch_id));
    let mut checks = Vec::new();
    match &entry.merchant {
        Ok(merchant) => {
            checks.push(Check::ok(&name, describe(merchant)));
            checks.push(notify_url(format!("{name}.notify_url"), merchant));
        }
        // The name of the check names the merchant.
        Err(InvalidMerchants::Merchant { problem, .. }) => {
            checks.push(Check::bad(&name, plain(problem), remedy));
        }
        Err(error) => checks.push(Check::bad(&name, plain(&error.to_string()), remedy)),
    }
    if !entry.key_files.is_empty() {
        checks.extend(key_files(format!("{name}.key_files"), &entry.key_files));
    }
    checks
}

fn describe(merchant: &Merchant) -> String {
    let apps = counted(merchant.appids.len(), "app");
    let kind = merchant.sign_type.as_str();
    let previous = match merchant.previous_key {
        Some(_) => "the previous key still verifies",
        None => "there is no previous key",
    };
    format!("{apps}, new orders are signed with {kind}, the key has the right form, {previous}")
}

fn notify_url(name: String, merchant: &Merchant) -> Check {
    let url = merchant.notify_url();
    let finding = format!("WeChat is told to post to {url}");
    if is_private(&url) {
        return Check::ok(name, finding);
    }
    let finding = format!("{finding}, and anyone on the network path can read who paid what");
    Check::warn(name, finding, "serve the ingress with TLS, and put https:// into notify_base_url")
}

/// Whether no one on the network can read what is sent there: by TLS, or on this machine.
fn is_private(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return true };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// `None` when a file cannot be examined: the check of its merchant reports that.
fn key_files(name: String, files: &[PathBuf]) -> Option<Check> {
    let mut open = Vec::new();
    for file in files {
        let mode = std::fs::metadata(file).ok()?.permissions().mode();
        if mode & OTHERS != 0 {
            open.push(plain(&file.to_string_lossy()));
        }
    }
    Some(match open.as_slice() {
        [] => Check::ok(name, "no other user of this machine can read or write them"),
        open => {
            let open = open.join(" ");
            let finding = format!("every user of this machine can read or write {open}");
            Check::warn(name, finding, format!("`chmod o= {open}`"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::doctor::report::CheckStatus;

    #[test]
    fn self_test_fails_for_another_signature() {
        assert_eq!(self_test().status, CheckStatus::Ok);
        let [(_, md5), (_, hmac)] = EXAMPLE_SIGNS;
        assert!(!is_correct(SignType::Md5, hmac));
        assert!(!is_correct(SignType::Md5, &md5.replace('9', "8")));
        assert!(!is_correct(SignType::HmacSha256, md5));
    }

    #[test]
    fn plain_http_is_private_on_this_machine_only() {
        for private in [
            "https://pay.example.com/notify",
            "http://localhost/n",
            "http://127.0.0.1:8080/n",
            "http://[::1]:8080/n",
        ] {
            assert!(is_private(private), "{private}");
        }
        for open in
            ["http://pay.example.com/n", "http://10.0.0.7:8080/n", "http://localhost.example/n"]
        {
            assert!(!is_private(open), "{open}");
        }
    }
}
