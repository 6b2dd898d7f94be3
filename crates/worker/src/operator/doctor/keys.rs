//! Signing itself, and the merchants that sign. No key and no part of one is ever shown.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use wechatpay_v2::{ApiKey, Fields, MchId, SignType, sign, verify};
use worker::{BadMerchants, Merchant, MerchantEntry, Merchants};

use super::report::Check;
use crate::operator::output::plain;

/// WeChat's own worked example (reference 1.2): its published key, message and signatures.
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
/// What others than the owner and the group may do with a file: read it or write to it.
const OTHERS: u32 = 0o006;

pub(super) fn self_test() -> Check {
    let name = "keys.self_test";
    let failing = EXAMPLE_SIGNS.iter().find(|(kind, expected)| !signs(*kind, expected));
    match failing {
        None => Check::ok(name, "MD5 and HMAC-SHA256 sign WeChat's official example as published"),
        Some((kind, _)) => {
            let finding =
                format!("{} does not sign WeChat's official example right", kind.as_str());
            Check::bad(name, finding, "take no orders with this build; install another")
        }
    }
}

fn signs(kind: SignType, expected: &str) -> bool {
    let Ok(key) = ApiKey::parse(EXAMPLE_KEY) else { return false };
    let message: Fields = EXAMPLE.into_iter().collect();
    let signed: Fields = EXAMPLE.into_iter().chain([("sign", expected)]).collect();
    sign(&message, &key, kind) == expected && verify(&signed, &key) == Ok(kind)
}

/// Reads the merchants file, and says which merchants are usable: none are known when it is not.
pub(super) fn merchants(file: &Path) -> (Vec<Check>, Option<Vec<MchId>>) {
    let name = "merchants.file";
    let remedy = "mend the file that WXPAY_MERCHANTS_FILE names, like \
                  deploy/merchants.sample.toml; then `kill -HUP` the workers";
    let shown = plain(&file.to_string_lossy());
    let entries = match Merchants::entries(file) {
        Ok(entries) => entries,
        // Such an error names the file itself.
        Err(error @ BadMerchants::Unreadable { .. }) => {
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
            checks.push(Check::ok(&name, described(merchant)));
            checks.push(notify_url(format!("{name}.notify_url"), merchant));
        }
        // Its name stands before it already.
        Err(BadMerchants::Merchant { problem, .. }) => {
            checks.push(Check::bad(&name, plain(problem), remedy));
        }
        Err(error) => checks.push(Check::bad(&name, plain(&error.to_string()), remedy)),
    }
    if !entry.key_files.is_empty() {
        checks.extend(key_files(format!("{name}.key_files"), &entry.key_files));
    }
    checks
}

fn described(merchant: &Merchant) -> String {
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
    match is_private(&url) {
        true => Check::ok(name, finding),
        false => Check::warn(
            name,
            format!("{finding}, where anybody on the way can read who paid what"),
            "put TLS in front of the ingress and https:// into notify_base_url",
        ),
    }
}

/// Whether what is sent there stays unread: by TLS, or because it never leaves the machine.
fn is_private(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return true };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// One that cannot be looked at is complained about where the key is.
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

/// `1 app`, `2 apps`.
pub(super) fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_self_test_would_notice_another_signature() {
        assert_eq!(self_test().status, super::super::report::CheckStatus::Ok);
        let [(_, md5), (_, hmac)] = EXAMPLE_SIGNS;
        assert!(!signs(SignType::Md5, hmac));
        assert!(!signs(SignType::Md5, &md5.replace('9', "8")));
        assert!(!signs(SignType::HmacSha256, md5));
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
