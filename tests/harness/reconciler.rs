//! Controls the gateway's faults and the reconciler's checks.

use reqwest::StatusCode;
use serde_json::Value;
use simulator::{Api, Fault, OrderCalls, PlannedFault};
use sqlx::AssertSqlSafe;

use crate::{Shop, World, eventually};

impl World {
    /// Injects a fault into the next calls of this kind about an order, in addition to planned ones.
    pub fn inject_fault(&self, api: Api, out_trade_no: &str, fault: Fault, times: u32) {
        let fault = PlannedFault {
            out_trade_no: Some(out_trade_no.to_owned()),
            ..PlannedFault::new(fault, times)
        };
        self.simulator.add_fault(api, fault).unwrap();
    }

    /// How often the gateway was called for an order.
    pub fn calls(&self, shop: &Shop, out_trade_no: &str) -> OrderCalls {
        self.simulator.calls(&shop.mch_id, out_trade_no)
    }

    /// Waits until the simulator holds this many calls.
    pub async fn wait_for_held_calls(&self, count: usize) {
        eventually(&format!("{count} held calls"), async || {
            (self.simulator.held_calls().len() == count).then_some(())
        })
        .await;
    }

    /// Changes an order's row behind the worker's back; `set` is SQL.
    pub async fn update_order_row(&self, out_trade_no: &str, set: &str) {
        let update = AssertSqlSafe(format!("update orders set {set} where out_trade_no = $1"));
        let update = sqlx::query(update).bind(out_trade_no);
        let changed = update.execute(&self.environment.pool).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "{out_trade_no}: {set}");
    }

    /// Evaluates an SQL expression over an order's row.
    pub async fn select_order<T>(&self, out_trade_no: &str, expression: &str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let select = format!("select {expression} from orders where out_trade_no = $1");
        let select = sqlx::query_scalar(AssertSqlSafe(select)).bind(out_trade_no);
        select.fetch_one(&self.environment.pool).await.unwrap()
    }

    /// The database's time in RFC 3339, as operators write it.
    pub async fn database_time(&self) -> String {
        let now = "select to_char(now() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        sqlx::query_scalar(now).fetch_one(&self.environment.pool).await.unwrap()
    }

    /// Makes the reconciler check an order once, and waits for the end of the check.
    pub async fn check_order_now(&self, shop: &Shop, out_trade_no: &str) {
        let before = self.calls(shop, out_trade_no).orderquery;
        self.update_order_row(out_trade_no, "next_check_at = now()").await;
        eventually(&format!("a check of {out_trade_no}"), async || {
            let queried = self.calls(shop, out_trade_no).orderquery > before;
            (queried && self.select_order(out_trade_no, "call_lease_until is null").await)
                .then_some(())
        })
        .await;
    }

    /// Requests to close an order, and waits for the worker's answer when `wait_s` is given.
    pub async fn close(
        &self,
        mch_id: &str,
        out_trade_no: &str,
        wait_s: Option<u8>,
    ) -> (StatusCode, Value) {
        let url = format!("http://{}/v1/orders/{mch_id}/{out_trade_no}/close", self.private);
        let mut request = self.http.post(url);
        if let Some(seconds) = wait_s {
            request = request.header("prefer", format!("wait={seconds}"));
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}
