//! The client of `wechatpay-v2` against the simulator.

use simulator::{Fault, FaultPlan, PayOptions, PlannedFault};
use time::OffsetDateTime;
use tokio::net::TcpSocket;
use wechatpay_v2::client::Client;
use wechatpay_v2::closeorder::CloseOrder;
use wechatpay_v2::orderquery::{OrderQuery, TradeState};
use wechatpay_v2::unifiedorder::{TradeType, UnifiedOrder};
use wechatpay_v2::{
    Advice, AppId, BeijingTime, CallOutcome, Credentials, Fen, MchId, OpenId, OutTradeNo, SignType,
    Unknown,
};

use crate::support::*;

pub(crate) fn unified_order(trade_type: TradeType) -> UnifiedOrder {
    let expire = OffsetDateTime::now_utc() + time::Duration::hours(2);
    UnifiedOrder {
        appid: AppId::parse(APPID).unwrap(),
        out_trade_no: OutTradeNo::parse(format!("order-{}", trade_type.as_str())).unwrap(),
        trade_type,
        body: "shop-flowers & <green>".to_owned(),
        total_fee: Fen::new(9900).unwrap(),
        spbill_create_ip: "203.0.113.24".to_owned(),
        notify_url: NO_ENDPOINT.to_owned(),
        time_start: None,
        time_expire: Some(BeijingTime::from_instant(expire)),
        openid: (trade_type == TradeType::Jsapi).then(|| OpenId::parse(OPENID).unwrap()),
        product_id: (trade_type == TradeType::Native).then(|| "P-1001".to_owned()),
        scene_info: (trade_type == TradeType::Mweb).then(|| r#"{"h5_info":{}}"#.to_owned()),
        attach: None,
        detail: None,
        goods_tag: None,
        limit_pay: None,
        device_info: Some("WEB".to_owned()),
        receipt: None,
        sub_mch_id: None,
        sub_appid: None,
        sub_openid: None,
    }
}

pub(crate) fn credentials(sign_type: SignType) -> Credentials {
    Credentials { mch_id: MchId::parse(MCH_ID).unwrap(), key: key(), sign_type }
}

fn success<T: std::fmt::Debug>(outcome: CallOutcome<T>) -> T {
    match outcome {
        CallOutcome::Success(value) => value,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn client_creates_queries_pays_and_closes_each_trade_type() {
    let gateway = gateway().await;
    let client = Client::new(&gateway.url(), None).unwrap();
    for sign_type in [SignType::Md5, SignType::HmacSha256] {
        let by = credentials(sign_type);
        for trade_type in [TradeType::Jsapi, TradeType::Native, TradeType::App, TradeType::Mweb] {
            let mut wanted = unified_order(trade_type);
            let number = format!("{}-{}", wanted.out_trade_no, sign_type.as_str());
            wanted.out_trade_no = OutTradeNo::parse(number.clone()).unwrap();
            let parameters = wanted.parameters();
            let first = success(client.unifiedorder(&by, &parameters).await);
            let again = success(client.unifiedorder(&by, &parameters).await);
            assert_ne!(first.prepay_id, again.prepay_id);
            assert_eq!(first.code_url.is_some(), trade_type == TradeType::Native);
            assert_eq!(first.mweb_url.is_some(), trade_type == TradeType::Mweb);

            let query = OrderQuery {
                appid: wanted.appid.clone(),
                out_trade_no: wanted.out_trade_no.clone(),
                sub_mch_id: None,
                sub_appid: None,
            };
            let found = success(client.orderquery(&by, &query).await);
            assert_eq!(found.trade_state, TradeState::NotPay);
            let quiet = PayOptions { notify: Some(0), ..PayOptions::default() };
            let paid = gateway.pay(MCH_ID, &number, &quiet).unwrap();
            match success(client.orderquery(&by, &query).await).trade_state {
                TradeState::Success(payment) => {
                    assert_eq!(payment.transaction_id, paid.transaction_id);
                    assert_eq!(payment.total_fee.get(), 9900);
                }
                other => panic!("{other:?}"),
            }
            let close = CloseOrder {
                appid: wanted.appid,
                out_trade_no: wanted.out_trade_no,
                sub_mch_id: None,
                sub_appid: None,
            };
            let CallOutcome::Refused(refused) = client.closeorder(&by, &close).await else {
                panic!("a paid order cannot be closed")
            };
            assert_eq!((&*refused.err_code, refused.advice), ("ORDERPAID", Advice::Query));
        }
    }
}

#[tokio::test]
async fn outcome_is_unknown_after_each_fault_that_hides_it() {
    let gateway = gateway().await;
    let client = Client::new(&gateway.url(), None).unwrap();
    let by = credentials(SignType::HmacSha256);
    let parameters = unified_order(TradeType::Jsapi).parameters();
    for fault in [
        Fault::DropBefore,
        Fault::DropAfterCommit,
        Fault::Status5xx,
        Fault::Html,
        Fault::Empty,
        Fault::Truncated,
        Fault::BadSignature,
        Fault::MissingSignature,
        Fault::OtherOrder,
        Fault::ReturnFail("系统维护".to_owned()),
    ] {
        let plan = FaultPlan {
            unifiedorder: vec![PlannedFault::new(fault.clone(), 1)],
            ..FaultPlan::default()
        };
        gateway.set_faults(plan).unwrap();
        let outcome = client.unifiedorder(&by, &parameters).await;
        assert!(matches!(outcome, CallOutcome::Unknown(_)), "{fault:?}: {outcome:?}");
    }
    success(client.unifiedorder(&by, &parameters).await);
}

#[tokio::test]
async fn backup_host_serves_the_same_orders() {
    let gateway = gateway().await;
    let backup = gateway.listen(listener().await).unwrap();
    // Bound but not listening: no other test can get this port, and it refuses connections.
    let unused = TcpSocket::new_v4().unwrap();
    unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let unused_url = format!("http://{}", unused.local_addr().unwrap());
    let by = credentials(SignType::Md5);
    let parameters = unified_order(TradeType::Jsapi).parameters();
    let primary = Client::new(&gateway.url(), None).unwrap();
    success(primary.unifiedorder(&by, &parameters).await);
    let backup_url = format!("http://{backup}");
    let client = Client::new(&unused_url, Some(&backup_url)).unwrap();
    success(client.unifiedorder(&by, &parameters).await);
    let view = gateway.orders().remove(0);
    assert_eq!(view.unifiedorder_count, 2);
    let without_backup = Client::new(&unused_url, None).unwrap();
    let outcome = without_backup.unifiedorder(&by, &parameters).await;
    assert!(matches!(outcome, CallOutcome::Unknown(Unknown::Transport(_))));
}
