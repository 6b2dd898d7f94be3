//! What nobody may see, and where it was seen all the same.

use serde_json::Value;

use crate::World;
use crate::environment::TestEnvironment;

/// Of every body: WeChat's messages are XML, and every order that a shop sends here is of this
/// shop.
const OF_BODIES: [&str; 3] = ["</", "CDATA", "极光小店"];
/// A signature by MD5; one by HMAC-SHA256 is twice as long.
const SIGNATURE_DIGITS: usize = 32;
const BETWEEN_BYTES: &str = ", ";

impl World {
    /// What nobody may see: keys, payers, passwords, and what the phones and the notifications
    /// were signed with so far.
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

    /// Adds to what nobody may see something that only the test knows of.
    pub fn add_secret(&self, secret: impl Into<String>) {
        self.test_secrets.lock().unwrap().push(secret.into());
    }

    /// The lines of a log that hold a secret, as text or as bytes: one that is known, anything of
    /// the form of a signature, whoever made it, or a part of a body.
    pub async fn lines_with_secrets<'a>(
        &self,
        log: impl IntoIterator<Item = &'a str>,
    ) -> Vec<&'a str> {
        let mut parts = self.secrets().await;
        parts.extend(OF_BODIES.map(str::to_owned));
        let as_bytes: Vec<_> = parts.iter().filter_map(|part| printed(part.as_bytes())).collect();
        let is_guilty = |line: &&str| {
            parts.iter().any(|part| line.contains(part))
                || (line.contains(BETWEEN_BYTES)
                    && as_bytes.iter().any(|bytes| line.contains(bytes)))
                || holds_a_signature(line)
        };
        log.into_iter().filter(is_guilty).collect()
    }
}

/// As `{:?}` prints bytes, which is how libraries print what passes through them. Too few of them
/// could be anything.
fn printed(bytes: &[u8]) -> Option<String> {
    let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
    (numbers.len() > 4).then(|| numbers.join(BETWEEN_BYTES))
}

/// Those of the servers, but for the ones that everybody knows and that are words besides.
fn passwords(environment: &TestEnvironment) -> Vec<String> {
    let urls = [environment.amqp_text.as_str(), environment.database_url.expose()];
    let passwords = urls.iter().filter_map(|url| {
        let url = reqwest::Url::parse(url).unwrap();
        url.password().map(str::to_owned)
    });
    passwords.filter(|password| !["guest", "postgres"].contains(&&**password)).collect()
}

/// The text of an element, unless it is empty.
fn element(body: &str, name: &str) -> Option<String> {
    let rest = body.split_once(&format!("<{name}>"))?.1;
    let text = rest.split_once(&format!("</{name}>"))?.0;
    let text = text.replace("<![CDATA[", "").replace("]]>", "");
    (!text.is_empty()).then_some(text)
}

/// A number can be as long, but has no letter.
fn holds_a_signature(line: &str) -> bool {
    let others = |byte: &u8| !matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    let mut runs = line.as_bytes().split(others);
    runs.any(|run| run.len() >= SIGNATURE_DIGITS && !run.iter().all(u8::is_ascii_digit))
}
