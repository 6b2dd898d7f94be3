//! Requests to the ingress, payments at the gateway, and reads of their results.

use reqwest::{Method, StatusCode};
use serde_json::Value;
use simulator::PayOptions;

use crate::{Shop, World, eventually};

impl World {
    /// Posts any body to the orders path of the ingress.
    pub async fn post(
        &self,
        body: impl Into<reqwest::Body>,
        headers: &[(&str, &str)],
    ) -> reqwest::Response {
        let url = format!("http://{}/v1/orders", self.private);
        let request = headers
            .iter()
            .fold(self.http.post(url), |request, (name, value)| request.header(*name, *value));
        request.body(body).send().await.unwrap()
    }

    /// Posts an order, and waits for the worker's answer when `wait_s` is given.
    pub async fn create(&self, order: &Value, wait_s: Option<u8>) -> (StatusCode, Value) {
        let wait = wait_s.map(|seconds| format!("wait={seconds}"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(wait.as_deref().map(|wait| ("prefer", wait)));
        let response = self.post(order.to_string(), &headers).await;
        let status = response.status();
        if status.is_success() {
            let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
            self.accepted.lock().unwrap().insert((text("mch_id"), text("out_trade_no")));
        }
        (status, json_body(response).await)
    }

    /// Posts an order and expects it to become payable; returns the view.
    pub async fn create_payable(&self, order: &Value) -> Value {
        let (status, view) = self.create(order, Some(20)).await;
        assert_eq!((status, &view["state"]), (StatusCode::OK, &Value::from("payable")), "{view}");
        view
    }

    /// Reads the order's view over HTTP.
    pub async fn get(&self, shop: &Shop, out_trade_no: &str) -> (StatusCode, Value) {
        let url = format!("http://{}/v1/orders/{}/{out_trade_no}", self.private, shop.mch_id);
        let response = self.http.request(Method::GET, url).send().await.unwrap();
        let status = response.status();
        (status, json_body(response).await)
    }

    /// Posts bytes as a payment notification to a merchant's path.
    pub async fn notify(&self, mch_id: &str, body: Vec<u8>) -> (StatusCode, String) {
        self.post_notification(&format!("{mch_id}/payment"), body).await
    }

    /// Posts bytes as a refund notification to a merchant's path.
    pub async fn notify_refund(&self, mch_id: &str, body: Vec<u8>) -> (StatusCode, String) {
        self.post_notification(&format!("{mch_id}/refund"), body).await
    }

    async fn post_notification(&self, path: &str, body: Vec<u8>) -> (StatusCode, String) {
        let url = format!("http://{}/notify/{path}", self.public);
        let response = self.http.post(url).body(body).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// The customer pays; the simulator notifies as `options` describe.
    pub fn pay(&self, shop: &Shop, out_trade_no: &str, options: &PayOptions) -> simulator::Paid {
        self.simulator.pay(&shop.mch_id, out_trade_no, options).unwrap()
    }

    /// A notification that the simulator composes without sending it.
    pub fn unsent_notification(
        &self,
        shop: &Shop,
        out_trade_no: &str,
        options: PayOptions,
    ) -> Vec<u8> {
        let options = PayOptions { hold: true, ..options };
        self.pay(shop, out_trade_no, &options).body.unwrap()
    }

    /// Waits until the order is in this state in the database.
    pub async fn wait_for_state(&self, shop: &Shop, out_trade_no: &str, state: &str) {
        eventually(&format!("{out_trade_no} in state {state}"), async || {
            let now = self.order_state(shop, out_trade_no).await?;
            (now == state).then_some(())
        })
        .await;
    }

    pub async fn order_state(&self, shop: &Shop, out_trade_no: &str) -> Option<String> {
        let state = "select state from orders where mch_id = $1 and out_trade_no = $2";
        let state = sqlx::query_scalar(state).bind(&shop.mch_id).bind(out_trade_no);
        state.fetch_optional(&self.environment.pool).await.unwrap()
    }

    /// Waits for an event of this type about an order, and returns it.
    pub async fn wait_for_event(&self, out_trade_no: &str, kind: &str) -> Value {
        eventually(&format!("{kind} of {out_trade_no}"), async || {
            let events = self.events.for_order(out_trade_no);
            events.into_iter().find(|event| event["type"] == kind)
        })
        .await
    }

    /// The kinds of an order's exceptions, open or resolved.
    pub async fn exception_kinds(&self, out_trade_no: &str) -> Vec<String> {
        let kinds = "select kind from exceptions where out_trade_no = $1 order by kind";
        let kinds = sqlx::query_scalar(kinds).bind(out_trade_no);
        kinds.fetch_all(&self.environment.pool).await.unwrap()
    }

    /// How many notifications are stored with this verdict.
    pub async fn count_notifications(&self, verdict: &str) -> i64 {
        let count = "select count(*) from notifications where verdict = $1";
        sqlx::query_scalar(count).bind(verdict).fetch_one(&self.environment.pool).await.unwrap()
    }

    /// Every row of the ledger tables, to compare before and after. Leases and the time of the next
    /// check are left out.
    pub async fn ledger_rows(&self) -> Vec<String> {
        let rows = "select (to_jsonb(o) - array['next_check_at', 'checked_at', 'call_lease_holder',
                'call_lease_until'])::text from orders o
            union all select t::text from order_transitions t order by 1";
        sqlx::query_scalar(rows).fetch_all(&self.environment.pool).await.unwrap()
    }
}

async fn json_body(response: reqwest::Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}
