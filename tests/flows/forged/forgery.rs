//! One forgery and its expected result.

use harness::{Shop, StoredNotification, World};
use reqwest::StatusCode;
use simulator::PayOptions;
use wechatpay_v2::notification_answer;

pub(super) const ACCEPTED: u16 = 200;

/// One forgery for an order of its own.
pub(super) struct Forgery {
    name: String,
    shop: Shop,
    number: String,
    /// The merchant number in the path that it is posted to.
    path: String,
    body: Vec<u8>,
    status: u16,
    /// The stored verdict, if the forgery is stored.
    verdict: Option<&'static str>,
    /// The exception that it opens, when it is signed.
    exception: Option<&'static str>,
}

impl Forgery {
    /// Creates a payable order; `forge` composes the body for its number.
    pub(super) async fn for_new_order(
        world: &World,
        shop: &Shop,
        name: impl Into<String>,
        forge: impl FnOnce(&str) -> Vec<u8>,
    ) -> Self {
        let number = Shop::number();
        world.create_payable(&shop.order(&number, 9900)).await;
        Self {
            name: name.into(),
            path: shop.mch_id.clone(),
            body: forge(&number),
            shop: shop.clone(),
            number,
            status: ACCEPTED,
            verdict: None,
            exception: None,
        }
    }

    pub(super) fn posted_to(self, path: &str) -> Self {
        let path = path.to_owned();
        Self { path, ..self }
    }

    pub(super) fn answered(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(super) fn stored_as(self, verdict: impl Into<Option<&'static str>>) -> Self {
        let verdict = verdict.into();
        Self { verdict, ..self }
    }

    pub(super) fn opening_exception(self, exception: &'static str) -> Self {
        let exception = Some(exception);
        Self { exception, ..self }
    }
}

/// A notification that the simulator composes for a payment that does not exist.
pub(super) fn unpaid_notification(
    world: &World,
    shop: &Shop,
    number: &str,
    options: &PayOptions,
) -> Vec<u8> {
    let options = PayOptions { notify_only: true, ..options.clone() };
    world.unsent_notification(shop, number, options)
}

/// Posts every forgery, expects no change, then pays every order.
pub(super) async fn expect_no_change(mut world: World, forgeries: Vec<Forgery>) {
    let ledger = world.ledger_rows().await;
    for forgery in &forgeries {
        let (status, answer) = world.notify(&forgery.path, forgery.body.clone()).await;
        assert_eq!(status.as_u16(), forgery.status, "{}", forgery.name);
        if status == StatusCode::OK {
            assert_eq!(answer, notification_answer::SUCCESS, "{}", forgery.name);
        } else {
            let fail = "<return_code><![CDATA[FAIL]]></return_code>";
            assert!(answer.contains(fail), "{}: {answer}", forgery.name);
        }
    }
    world.process_queues().await;
    for forgery in &forgeries {
        let stored = world.stored_notification(&forgery.body).await;
        let expected = forgery.verdict.map(|verdict| StoredNotification::new(verdict, 0));
        assert_eq!(stored, expected, "{}", forgery.name);
        let exceptions = world.exception_kinds(&forgery.number).await;
        let expected: Vec<_> = forgery.exception.into_iter().collect();
        assert_eq!(exceptions, expected, "{}", forgery.name);
    }
    assert_eq!(world.ledger_rows().await, ledger);

    for Forgery { shop, number, .. } in &forgeries {
        world.pay(shop, number, &PayOptions::default());
    }
    for Forgery { shop, number, .. } in &forgeries {
        world.wait_for_state(shop, number, "paid").await;
        // The query that a forgery caused may find the payment before its notification.
        let history = world.transition_labels(number).await;
        assert_eq!(history[..2], ["created by shop", "payable by reply"]);
        assert!(["paid by notify", "paid by query"].contains(&&*history[2]), "{history:?}");
        assert_eq!(history.len(), 3);
    }
    world.finish().await;
}
