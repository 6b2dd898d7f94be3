//! A gateway with an HTTP client, a merchant's endpoint with scripted answers, and waiting with a
//! deadline.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use simulator::{Config, Handle, Merchant, Simulator};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use wechatpay_v2::{ApiKey, AppId, BeijingTime, Fields, Limits, MchId, SignType};
use wechatpay_v2::{parse_xml, sign, verify};

pub(crate) const KEY: &str = "OrderWorkerDemoKeyV2Only00000002";
pub(crate) const OTHER_KEY: &str = "OrderWorkerDemoKeyV2Only00000003";
pub(crate) const MCH_ID: &str = "1699000001";
pub(crate) const OTHER_MCH_ID: &str = "1699000002";
pub(crate) const APPID: &str = "wx5f0c2e7a91d34b68";
pub(crate) const OPENID: &str = "oDemoUser0000000000000000001";
pub(crate) const ORDER_NO: &str = "SO20260721A0001";

pub(crate) fn key() -> ApiKey {
    ApiKey::parse(KEY).unwrap()
}

pub(crate) fn config() -> Config {
    let merchant = |mch_id, key| Merchant {
        mch_id: MchId::parse(mch_id).unwrap(),
        appids: vec![AppId::parse(APPID).unwrap()],
        key: ApiKey::parse(key).unwrap(),
        sign_type: SignType::Md5,
        notify_base_url: None,
    };
    let merchants = vec![merchant(MCH_ID, KEY), merchant(OTHER_MCH_ID, OTHER_KEY)];
    Config { time_scale: 1000.0, ..Config::new(merchants) }
}

/// A gateway, and an HTTP client that shares no code with it.
pub(crate) struct Gateway {
    handle: Handle,
    http: reqwest::Client,
}

impl Deref for Gateway {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

pub(crate) async fn gateway() -> Gateway {
    gateway_with(config()).await
}

pub(crate) async fn gateway_with(config: Config) -> Gateway {
    let handle = Simulator::start(config, listener().await).unwrap();
    Gateway { handle, http: http() }
}

pub(crate) async fn gateway_on(addr: &str) -> Gateway {
    let listener = TcpListener::bind(addr).await.unwrap();
    let handle = Simulator::start(config(), listener).unwrap();
    Gateway { handle, http: http() }
}

pub(crate) fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

impl Gateway {
    pub(crate) async fn finish(self) {
        self.handle.stop().await;
    }

    /// Posts a body as it is, with the content type that curl would choose.
    pub(crate) async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> (u16, String) {
        let request = self.http.post(format!("{}{path}", self.url()));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = request.body(body.into()).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Sends a signed call, and verifies the answer's signature unless communication failed.
    pub(crate) async fn call(&self, path: &str, fields: Fields) -> Fields {
        let sign_type = sign_type(&fields);
        let (status, body) = self.post(path, xml(&signed(fields))).await;
        assert_eq!(status, 200);
        let answer = parse_xml(body.as_bytes(), Limits::MESSAGE).unwrap();
        if answer.get("return_code") == Some("SUCCESS") {
            assert_eq!(verify(&answer, &key()), Ok(sign_type), "{body}");
        } else {
            assert!(!answer.contains("sign") && answer.len() == 2, "{body}");
        }
        answer
    }

    pub(crate) async fn create(&self, fields: Fields) -> Fields {
        self.call("/pay/unifiedorder", fields).await
    }

    pub(crate) async fn query(&self, out_trade_no: &str) -> Fields {
        self.call("/pay/orderquery", common([("out_trade_no", out_trade_no)])).await
    }

    pub(crate) async fn close(&self, out_trade_no: &str) -> Fields {
        self.call("/pay/closeorder", common([("out_trade_no", out_trade_no)])).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.http.get(format!("{}{path}", self.url())).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    pub(crate) async fn control(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, body) = self.post(path, body.to_string()).await;
        (status, serde_json::from_str(&body).unwrap())
    }
}

/// The fields that every call has, without a signature.
pub(crate) fn common<'a>(more: impl IntoIterator<Item = (&'a str, &'a str)>) -> Fields {
    let mut fields: Fields = more.into_iter().collect();
    fields.insert("appid", APPID);
    fields.insert("mch_id", MCH_ID);
    fields.insert("nonce_str", wechatpay_v2::Nonce::generate().as_str());
    fields
}

/// A JSAPI order, expiring in half an hour.
pub(crate) fn order(notify_url: &str) -> Fields {
    let expire = BeijingTime::from_instant(OffsetDateTime::now_utc() + time::Duration::minutes(30));
    let mut fields = common([
        ("out_trade_no", ORDER_NO),
        ("body", "极光小店-鲜花&绿植"),
        ("attach", "shop=7;src=mini"),
        ("total_fee", "9900"),
        ("spbill_create_ip", "203.0.113.24"),
        ("notify_url", notify_url),
        ("trade_type", "JSAPI"),
        ("openid", OPENID),
    ]);
    fields.insert("time_expire", expire.to_string());
    fields
}

pub(crate) const NO_ENDPOINT: &str = "http://127.0.0.1:9/notify";

/// Replaces some of the fields; an empty text removes one.
pub(crate) fn with(mut fields: Fields, changes: &[(&str, &str)]) -> Fields {
    for (name, text) in changes {
        fields.remove(name);
        if !text.is_empty() {
            fields.insert(*name, *text);
        }
    }
    fields
}

pub(crate) fn sign_type(fields: &Fields) -> SignType {
    let named = fields.get("sign_type");
    named.map_or(SignType::Md5, |name| SignType::parse(name).unwrap())
}

pub(crate) fn signed(mut fields: Fields) -> Fields {
    let signature = sign(&fields, &key(), sign_type(&fields));
    fields.insert("sign", signature);
    fields
}

/// In reverse order, with CDATA, a declaration, a comment and white space.
pub(crate) fn xml(fields: &Fields) -> String {
    let elements: Vec<_> = fields
        .iter()
        .map(|(name, text)| format!("\t<{name}><![CDATA[{text}]]></{name}>\r\n"))
        .collect();
    let elements: String = elements.into_iter().rev().collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- a client -->\n<xml>\n{elements}</xml>\n"
    )
}

/// A wait that takes longer fails its test. Generous, because the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) const SUCCESS: &str = wechatpay_v2::notification_answer::SUCCESS;

/// A merchant's endpoint. It records what it receives; it gives the listed answers, then `SUCCESS`.
#[derive(Clone, Default)]
pub(crate) struct Endpoint {
    url: String,
    received: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
}

impl Endpoint {
    pub(crate) async fn start<const N: usize>(answers: [(u16, &str); N]) -> Self {
        let listener = listener().await;
        let endpoint = Self {
            url: format!("http://{}/notify", listener.local_addr().unwrap()),
            answers: Arc::new(Mutex::new(
                answers.map(|(status, body)| (status, body.to_owned())).into(),
            )),
            ..Self::default()
        };
        let own = endpoint.clone();
        let handler = async move |headers: HeaderMap, body: Bytes| {
            own.received.lock().unwrap().push((headers, body));
            let answer = own.answers.lock().unwrap().pop_front();
            let (status, body) = answer.unwrap_or((200, SUCCESS.to_owned()));
            (StatusCode::from_u16(status).unwrap(), body)
        };
        let routes = axum::Router::new().route("/notify", post(handler));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        endpoint
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn received(&self) -> Vec<(HeaderMap, Bytes)> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) async fn bodies(&self, count: usize) -> Vec<Bytes> {
        until("the endpoint has received enough notifications", || self.received().len() >= count)
            .await;
        self.received().into_iter().map(|(_, body)| body).collect()
    }
}
