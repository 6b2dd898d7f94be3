//! The secrets of a test, and the log lines that contain one.

use serde_json::Value;

use crate::World;
use crate::environment::TestEnvironment;

/// Text of every body: WeChat's messages are XML, and every order of the tests names this shop.
const BODY_TEXT: [&str; 3] = ["</", "CDATA", "极光小店"];
/// The length of an MD5 signature. An HMAC-SHA256 signature is twice as long.
const SIGNATURE_DIGITS: usize = 32;
const BETWEEN_BYTES: &str = ", ";

impl World {
    /// The secrets so far: keys, openids, passwords, and the signatures of notifications and of pay
    /// parameters.
    pub async fn secrets(&self) -> Vec<String> {
        let mut secrets = self.test_secrets.lock().unwrap().clone();
        secrets.extend(passwords(&self.environment));
        for merchant in &self.merchants {
            secrets.extend([merchant.key.clone(), merchant.openid.clone()]);
        }
        let raw = sqlx::query_scalar("select raw from notifications");
        let raw: Vec<Vec<u8>> = raw.fetch_all(&self.environment.pool).await.unwrap();
        for body in raw {
            let body = String::from_utf8_lossy(&body);
            secrets.extend(["sign", "openid"].iter().filter_map(|name| element(&body, name)));
        }
        for body in self.events.bodies() {
            let event: Value = serde_json::from_slice(&body).unwrap();
            let pay = &event["order"]["pay"];
            let signs = [&pay["paySign"], &pay["sign"]];
            secrets.extend(signs.iter().filter_map(|sign| sign.as_str().map(str::to_owned)));
        }
        secrets.sort();
        secrets.dedup();
        secrets
    }

    /// Adds a secret that the test itself created.
    pub fn add_secret(&self, secret: impl Into<String>) {
        self.test_secrets.lock().unwrap().push(secret.into());
    }

    /// The lines of a log that contain a secret, as text or as bytes: a known secret, anything that
    /// has the form of a signature, or a part of a body.
    pub async fn lines_with_secrets<'a>(
        &self,
        log: impl IntoIterator<Item = &'a str>,
    ) -> Vec<&'a str> {
        let mut parts = self.secrets().await;
        parts.extend(BODY_TEXT.map(str::to_owned));
        let as_bytes: Vec<_> = parts.iter().filter_map(|part| printed(part.as_bytes())).collect();
        let has_secret = |line: &&str| {
            parts.iter().any(|part| line.contains(part))
                || (line.contains(BETWEEN_BYTES)
                    && as_bytes.iter().any(|bytes| line.contains(bytes)))
                || contains_signature(line)
        };
        log.into_iter().filter(has_secret).collect()
    }
}

/// Bytes as `{:?}` prints them, as libraries log payloads. Short ones are left out: they could match
/// by chance.
fn printed(bytes: &[u8]) -> Option<String> {
    let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
    (numbers.len() > 4).then(|| numbers.join(BETWEEN_BYTES))
}

/// The servers' passwords, without the well-known default ones.
fn passwords(environment: &TestEnvironment) -> Vec<String> {
    let urls = [environment.amqp_text.as_str(), environment.database_url.expose()];
    let passwords = urls.iter().filter_map(|url| {
        let url = reqwest::Url::parse(url).unwrap();
        url.password().map(str::to_owned)
    });
    passwords.filter(|password| !["guest", "postgres"].contains(&&**password)).collect()
}

/// The text of an element, if it is not empty.
fn element(body: &str, name: &str) -> Option<String> {
    let rest = body.split_once(&format!("<{name}>"))?.1;
    let text = rest.split_once(&format!("</{name}>"))?.0;
    let text = text.replace("<![CDATA[", "").replace("]]>", "");
    (!text.is_empty()).then_some(text)
}

/// A signature has letters. A number of this length has none.
fn contains_signature(line: &str) -> bool {
    let others = |byte: &u8| !matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    let mut runs = line.as_bytes().split(others);
    runs.any(|run| run.len() >= SIGNATURE_DIGITS && !run.iter().all(u8::is_ascii_digit))
}
