//! What a shop does: it creates an order over HTTP and reads the answer.

use anyhow::{Context, Result, ensure};
use harness::local_system::{APPID, LocalSystem, MCH_ID};
use md5::{Digest, Md5};
use reqwest::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

pub(crate) struct Order {
    pub(crate) out_trade_no: String,
    pub(crate) openid: String,
}

impl Order {
    pub(crate) fn new() -> Self {
        let seconds = OffsetDateTime::now_utc().unix_timestamp();
        Self {
            out_trade_no: format!("DEMO{seconds}"),
            openid: "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o".to_owned(),
        }
    }

    /// Returns the answer: the order, with the parameters to pay it.
    pub(crate) async fn create(&self, system: &LocalSystem) -> Result<Value> {
        let order = json!({
            "mch_id": MCH_ID,
            "appid": APPID,
            "out_trade_no": self.out_trade_no,
            "body": "Demo: two tickets",
            "total_fee": 9900,
            "spbill_create_ip": "203.0.113.7",
            "openid": self.openid,
        });
        let url = format!("http://{}/v1/orders", system.addresses.private);
        let request = system.http.post(url).header("prefer", "wait=10");
        let request = request.header("content-type", "application/json").body(order.to_string());
        let created = read_ok("the ingress", request.send().await?).await?;
        let state = &created["state"];
        ensure!(state == "payable", "the order is {state}, not payable");
        Ok(created)
    }

    pub(crate) async fn pay(&self, system: &LocalSystem) -> Result<()> {
        let simulator = system.addresses.simulator;
        let url = format!("http://{simulator}/_sim/pay/{MCH_ID}/{}", self.out_trade_no);
        let answer = system.http.post(url).body("{}").send().await?;
        read_ok("the simulator", answer).await?;
        Ok(())
    }

    pub(crate) async fn is_paid(&self, system: &LocalSystem) -> bool {
        let private = system.addresses.private;
        let url = format!("http://{private}/v1/orders/{MCH_ID}/{}", self.out_trade_no);
        let Ok(answer) = system.http.get(url).send().await else { return false };
        read_ok("the ingress", answer).await.is_ok_and(|view| view["state"] == "paid")
    }
}

async fn read_ok(who: &str, answer: Response) -> Result<Value> {
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "{who} answered {status}: {text}");
    serde_json::from_str(&text).with_context(|| format!("{who} answered no JSON"))
}

/// The parameters of `wx.requestPayment` in a mini program.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PayParameters {
    app_id: String,
    time_stamp: String,
    nonce_str: String,
    pub(crate) package: String,
    sign_type: String,
    pub(crate) pay_sign: String,
}

impl PayParameters {
    pub(crate) fn read(created: &Value) -> Result<Self> {
        serde_json::from_value(created["pay"].clone())
            .context("the answer has no parameters to pay")
    }

    pub(crate) fn print(&self) {
        println!("  appId     {}", self.app_id);
        println!("  timeStamp {}", self.time_stamp);
        println!("  nonceStr  {}", self.nonce_str);
        println!("  package   {}", self.package);
        println!("  signType  {}", self.sign_type);
        println!("  paySign   {}", self.pay_sign);
    }

    /// Signs the parameters again, without the code that the worker signs with.
    pub(crate) fn verify(&self, key: &str) -> Result<()> {
        let text = format!(
            "appId={}&nonceStr={}&package={}&signType={}&timeStamp={}&key={key}",
            self.app_id, self.nonce_str, self.package, self.sign_type, self.time_stamp
        );
        let digest = service::hex::encode(&Md5::digest(text)).to_uppercase();
        ensure!(self.pay_sign == digest, "paySign is not the MD5 of the parameters and the key");
        Ok(())
    }
}
