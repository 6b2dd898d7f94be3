//! Composes forged notifications in several shapes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{Shop, World};
use uuid::Uuid;
use wechatpay_v2::{Fields, write_xml};

/// Unpaid orders that forgeries name.
const OPEN_ORDERS: usize = 20;
pub(crate) const SHAPES: usize = 8;

pub(crate) struct Forger {
    shops: [Shop; 2],
    open: Vec<(Shop, String)>,
    paid: Vec<(Shop, String)>,
    shapes: usize,
    written: AtomicUsize,
    /// The last forgery of the first shape, which the last shape repeats.
    last: Mutex<Vec<u8>>,
}

/// A forged body and the path that it is posted to.
pub(crate) struct Forgery {
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

impl Forger {
    /// Composes the first `shapes` shapes. The first two name orders that do not exist.
    pub(crate) async fn new(world: &World, paid: Vec<(Shop, String)>, shapes: usize) -> Self {
        assert!((1..=SHAPES).contains(&shapes), "there are {SHAPES} shapes");

        let shops = [world.md5_shop(), world.hmac_shop()];
        let mut open = Vec::new();
        for n in 0..OPEN_ORDERS {
            let shop = shops[n % 2].clone();
            let number = Shop::number();
            world.create_payable(&shop.order(&number, 9900)).await;
            open.push((shop, number));
        }
        Self { shops, open, paid, shapes, written: AtomicUsize::new(0), last: Mutex::default() }
    }

    /// The next forgery. The shapes alternate.
    pub(crate) fn next(&self) -> Forgery {
        let n = self.written.fetch_add(1, Ordering::Relaxed);
        let round = n / self.shapes;
        let shape = n % self.shapes;
        let shop = &self.shops[round % 2];
        let (path, body) = match shape {
            // An unknown order, under a signature of the right length.
            0 | 1 => (shop, signed(shop, &Shop::number(), &random())),
            2 => {
                let (shop, number) = &self.open[round % self.open.len()];
                (shop, signed(shop, number, &random()))
            }
            3 => {
                let (shop, number) = &self.paid[round % self.paid.len()];
                (shop, signed(shop, number, &random()))
            }
            4 => (shop, signed(shop, &Shop::number(), "")),
            // Another merchant in the body than in the path.
            5 => (shop, signed(&self.shops[(round + 1) % 2], &Shop::number(), &random())),
            // Truncated XML.
            6 => {
                let mut body = signed(shop, &Shop::number(), &random());
                body.truncate(body.len() - 20);
                (shop, body)
            }
            _ => (shop, self.last.lock().unwrap().clone()),
        };
        if shape == 0 {
            self.last.lock().unwrap().clone_from(&body);
        }
        Forgery { path: format!("/notify/{}/payment", path.mch_id), body }
    }
}

fn random() -> String {
    Uuid::new_v4().simple().to_string().to_uppercase()
}

/// WeChat's notification of a payment, with this signature.
fn signed(shop: &Shop, out_trade_no: &str, sign: &str) -> Vec<u8> {
    let mut fields = Fields::new();
    for (name, text) in [
        ("return_code", "SUCCESS"),
        ("result_code", "SUCCESS"),
        ("appid", &shop.appid),
        ("mch_id", &shop.mch_id),
        ("out_trade_no", out_trade_no),
        ("openid", &random()[..28]),
        ("nonce_str", &random()),
        ("transaction_id", "4200001234202611200123456789"),
        ("trade_type", "JSAPI"),
        ("bank_type", "OTHERS"),
        ("is_subscribe", "N"),
        ("total_fee", "9900"),
        ("cash_fee", "9900"),
        ("fee_type", "CNY"),
        ("time_end", "20261120093000"),
        ("sign", sign),
    ] {
        fields.insert(name, text);
    }
    write_xml(&fields).into_bytes()
}
