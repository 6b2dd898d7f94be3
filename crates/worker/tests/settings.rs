//! The program's settings: a bad one ends it with 64, names the variable, and never says the value.
#![allow(clippy::unwrap_used, reason = "in a test a failure is a panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

const BAD_SETTING: Option<i32> = Some(64);
/// In URLs, keys and files; it must not be seen again.
const SECRET: &str = "hunter2hunter2hunter2hunter2";
const KEY: &str = "OrderWorkerTestKeyV2Only00000001";
const OTHER_KEY: &str = "OrderWorkerTestKeyV2Only00000002";

/// A folder for one test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("wxpay-worker-settings-{}-{made}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A merchants file, beside key files that are right and wrong.
    fn merchants(&self, text: &str) -> PathBuf {
        self.write("right.key", &format!("{KEY}\n"));
        self.write("other.key", OTHER_KEY);
        self.write("short.key", SECRET);
        self.write("merchants.toml", text)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One `[[merchant]]`, right but for what is added.
fn merchant(mch_id: &str, more: &str) -> String {
    format!(
        "[[merchant]]\nmch_id = \"{mch_id}\"\nappids = [\"wx8888888888888888\"]\n\
         notify_base_url = \"https://shop.example\"\n{more}\n"
    )
}

fn right() -> String {
    merchant("1900000109", "api_key_file = \"right.key\"")
}

fn program(arguments: &[&str], merchants: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_wxpay-worker"));
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("WXPAY_")) {
        program.env_remove(name);
    }
    program.args(arguments).env("WXPAY_MERCHANTS_FILE", merchants);
    program
}

fn said(output: &Output) -> String {
    let out = &output.stdout;
    let err = &output.stderr;
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// Ends with 64, says all of this, and no secret.
fn refuses(program: &mut Command, says: &[&str]) {
    let output = program.output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), BAD_SETTING, "{says:?}: {said}");
    for text in says {
        assert!(said.contains(text), "no {text:?} in: {said}");
    }
    for secret in [SECRET, KEY, OTHER_KEY] {
        assert!(!said.contains(secret), "a secret is said: {said}");
    }
}

#[test]
fn each_bad_setting_ends_the_worker_and_is_named() {
    let folder = Folder::new();
    let merchants = folder.merchants(&right());
    let bad: &[(&str, String)] = &[
        ("WXPAY_AMQP_URL", format!("http://shop:{SECRET}@127.0.0.1")),
        ("WXPAY_AMQP_URL", format!("amqp://shop:{SECRET}@127.0.0.1:port/")),
        ("WXPAY_AMQP_URL", String::new()),
        ("WXPAY_AMQP_URL", format!("amqps://shop:{SECRET}@mq/%2f?cacertfile=/nowhere.pem")),
        ("WXPAY_NAMESPACE", String::new()),
        ("WXPAY_NAMESPACE", "Shop.Orders".to_owned()),
        ("WXPAY_NAMESPACE", "n".repeat(41)),
        ("WXPAY_TOPOLOGY", "destroy".to_owned()),
        ("WXPAY_DATABASE_URL", format!("mysql://shop:{SECRET}@127.0.0.1/wxpay")),
        ("WXPAY_DATABASE_URL", format!("postgres://shop:{SECRET}@127.0.0.1:port/wxpay")),
        ("WXPAY_DATABASE_URL", SECRET.to_owned()),
        ("WXPAY_DATABASE_URL", format!("postgres://shop@127.0.0.1/wxpay?pasword={SECRET}")),
        ("WXPAY_DATABASE_URL", "postgres://127.0.0.1/wxpay?sslrootcert=/ca.pem".to_owned()),
        (
            "WXPAY_DATABASE_URL",
            "postgres://127.0.0.1/wxpay?sslmode=require&sslrootcert=/ca.pem".to_owned(),
        ),
        ("WXPAY_GATEWAY_URL", format!("ftp://shop:{SECRET}@127.0.0.1")),
        ("WXPAY_GATEWAY_URL", "api.mch.weixin.qq.com".to_owned()),
        ("WXPAY_GATEWAY_BACKUP_URL", "no url".to_owned()),
        ("WXPAY_GATEWAY_CONCURRENCY", "0".to_owned()),
        ("WXPAY_GATEWAY_CONCURRENCY", "10001".to_owned()),
        ("WXPAY_GATEWAY_CONCURRENCY", "many".to_owned()),
        ("WXPAY_CLIENTS_FILE", "clients.toml".to_owned()),
        ("WXPAY_OPS_ADDR", "localhost".to_owned()),
        ("WXPAY_OPS_ADDR", "127.0.0.1:65536".to_owned()),
        ("WXPAY_LOG", "worker=loudly".to_owned()),
    ];
    for (variable, value) in bad {
        let mut program = program(&["run"], &merchants);
        refuses(program.env(variable, value), &[variable]);
    }
}

#[test]
fn an_address_that_is_taken_is_a_bad_setting() {
    let folder = Folder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut program = program(&["run"], &folder.merchants(&right()));
    refuses(program.env("WXPAY_OPS_ADDR", address), &["WXPAY_OPS_ADDR"]);
}

#[cfg(unix)]
#[test]
fn a_setting_that_is_no_text_is_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let folder = Folder::new();
    let merchants = folder.merchants(&right());
    let no_text = OsStr::from_bytes(b"\xff");
    let variables = ["WXPAY_AMQP_URL", "WXPAY_NAMESPACE", "WXPAY_DATABASE_URL", "WXPAY_LOG"];
    for variable in variables.into_iter().chain(["WXPAY_MERCHANTS_FILE", "WXPAY_OPS_ADDR"]) {
        let mut program = program(&["run"], &merchants);
        refuses(program.env(variable, no_text), &[variable]);
    }
}

#[test]
fn every_verb_checks_what_it_uses() {
    let folder = Folder::new();
    let merchants = folder.merchants(&right());
    let url = format!("mysql://shop:{SECRET}@127.0.0.1/wxpay");
    let verbs: [&[&str]; 6] = [
        &["migrate"],
        &["order", "show", "1900000109", "SO-0001"],
        &["exceptions", "list"],
        &["events", "replay", "--order", "1900000109/SO-0001"],
        &["notification", "list", "1900000109", "-"],
        &["parked", "replay", "orders", "--all"],
    ];
    for verb in verbs {
        refuses(program(verb, &merchants).env("WXPAY_DATABASE_URL", &url), &["WXPAY_DATABASE_URL"]);
    }
    let url = format!("http://shop:{SECRET}@127.0.0.1");
    let listen = ["events", "listen", "--out-trade-no", "SO-0001", "--until", "order.paid"];
    for verb in [&listen[..], &["parked", "list"]] {
        refuses(program(verb, &merchants).env("WXPAY_AMQP_URL", &url), &["WXPAY_AMQP_URL"]);
    }
}

#[test]
fn merchants_file_fault_is_named_with_merchant_and_field() {
    let key = "api_key_file = \"right.key\"";
    let one = |more: &str| merchant("1900000109", more);
    let url = |url: &str| right().replace("https://shop.example", url);
    let mch = "1900000109";
    let notify = "notify_base_url";
    let cases: Vec<(String, Vec<&str>)> = vec![
        (String::new(), vec!["[[merchant]]"]),
        (one(""), vec![mch, "api_key_file", "api_key_env"]),
        (one(&format!("{key}\napi_key_env = \"KEY\"")), vec![mch, "api_key_file", "api_key_env"]),
        (one("api_key_file = \"short.key\""), vec![mch, "api_key"]),
        (one("api_key_file = \"absent.key\""), vec![mch, "absent.key"]),
        (one("api_key_env = \"SHOP_KEY_ABSENT\""), vec![mch, "SHOP_KEY_ABSENT", "api_key_env"]),
        (one("api_key_env = \"SHOP_KEY_SHORT\""), vec![mch, "api_key"]),
        (
            one(&format!(
                "{key}\nprevious_api_key_file = \"other.key\"\nprevious_api_key_env = \"KEY\""
            )),
            vec![mch, "previous_api_key_file", "previous_api_key_env"],
        ),
        (one(&format!("{key}\nprevious_api_key_file = \"short.key\"")), vec![mch, "api_key"]),
        (one(&format!("{key}\nrequests_per_second = 0")), vec![mch, "requests_per_second"]),
        (one(&format!("{key}\nrequests_per_second = 10001")), vec![mch, "requests_per_second"]),
        (one(&format!("{key}\nprevious_api_key_file = \"absent.key\"")), vec![mch, "absent.key"]),
        (right() + &right(), vec![mch, "mch_id"]),
        (one(&format!("{key}\napi_key = \"{KEY}\"")), vec!["api_key"]),
        (one(&format!("{key}\ncolour = \"{SECRET}\"")), vec!["colour"]),
        (format!("{}\n[settings]\n", right()), vec!["settings"]),
        (right().replace("appids = [\"wx8888888888888888\"]", ""), vec!["appids"]),
        (right().replace("\"wx8888888888888888\"", ""), vec![mch, "appids"]),
        (right().replace("wx8888888888888888", "wx 8"), vec![mch, "appid"]),
        (one(&format!("{key}\nsign_type = \"SHA1\"")), vec!["sign_type", "HMAC-SHA256"]),
        (right().replace(mch, "not a number"), vec!["not a number", "mch_id"]),
        (url("https://shop.example/?a=1"), vec![mch, notify]),
        (url("https://shop.example/#a"), vec![mch, notify]),
        (url(&format!("https://shop:{SECRET}@shop.example")), vec![mch, notify]),
        (url("shop.example"), vec![mch, notify]),
        (url("https://"), vec![mch, notify]),
        (url(&format!("https://shop.example/{}", "a".repeat(200))), vec![mch, notify]),
        (format!("[[merchant]]\nmch_id = {KEY}"), vec![]),
    ];
    let folder = Folder::new();
    for (text, mut says) in cases {
        let mut program = program(&["run"], &folder.merchants(&text));
        says.push("WXPAY_MERCHANTS_FILE");
        refuses(program.env("SHOP_KEY_SHORT", SECRET).env_remove("SHOP_KEY_ABSENT"), &says);
    }
}

#[test]
fn a_merchants_file_that_cannot_be_read_is_named() {
    let folder = Folder::new();
    let absent = folder.0.join("absent.toml");
    let says = ["WXPAY_MERCHANTS_FILE", "absent.toml"];
    refuses(&mut program(&["run"], &absent), &says);
    let folder_itself = folder.0.clone();
    refuses(&mut program(&["run"], &folder_itself), &["WXPAY_MERCHANTS_FILE"]);
    let no_text = folder.write("binary.toml", "");
    fs::write(&no_text, b"\xff\xfe").unwrap();
    refuses(&mut program(&["run"], &no_text), &["WXPAY_MERCHANTS_FILE"]);
}

#[test]
fn what_is_asked_wrongly_is_no_setting() {
    let folder = Folder::new();
    let output = program(&["dance"], &folder.merchants(&right())).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}
