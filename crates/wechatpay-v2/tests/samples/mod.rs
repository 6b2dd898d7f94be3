//! Sample messages and strings to sign with their known results. Each file is named
//! `{id}.{check}.{extension}`, where `check` says what must come out:
//!
//! | check | means |
//! |---|---|
//! | `md5`, `hmac` | the `sign` inside verifies with that algorithm |
//! | `unsigned` | a legal message without `sign`, or no message at all |
//! | `reject` | must be refused |
//! | `refund` | `req_info` decrypts to the `plain` file of the same id |

#![allow(dead_code, reason = "each test takes the part that it needs")]
#![allow(clippy::unwrap_used, reason = "an unreadable sample fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use wechatpay_v2::closeorder::CloseOrder;
use wechatpay_v2::orderquery::OrderQuery;
use wechatpay_v2::{
    ApiKey, AppId, Credentials, Fields, Limits, MchId, OutTradeNo, SignType, parse_xml, sign,
};

/// The key of every sample. Its MD5 begins with a zero, which the AES key derived from it must keep.
pub(crate) const KEY: &str = "OrderWorkerDemoKeyV2Only00000002";
/// The key of another merchant.
pub(crate) const OTHER_KEY: &str = "OrderWorkerDemoKeyV2Only00000003";

pub(crate) struct Sample {
    pub(crate) id: String,
    pub(crate) check: String,
    pub(crate) extension: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) sign_type: SignType,
    pub(crate) key: ApiKey,
    pub(crate) string: String,
    pub(crate) sign: String,
    pub(crate) mistakes: Vec<String>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples")
}

/// All samples by id.
pub(crate) fn all() -> BTreeMap<String, Sample> {
    fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let [id, check, extension] = name.split('.').collect::<Vec<_>>()[..] else {
                return None;
            };
            let sample = Sample {
                id: id.to_owned(),
                check: check.to_owned(),
                extension: extension.to_owned(),
                body: fs::read(&path).unwrap(),
            };
            (!id.is_empty()).then(|| (sample.id.clone(), sample))
        })
        .collect()
}

/// The bytes of one sample.
pub(crate) fn body(id: &str) -> Vec<u8> {
    let mut all = all();
    all.remove(id).unwrap_or_else(|| panic!("no sample {id}")).body
}

/// The elements of one sample.
pub(crate) fn fields(id: &str) -> Fields {
    parse_xml(&body(id), Limits::MESSAGE).unwrap_or_else(|error| panic!("{id}: {error}"))
}

/// All strings to sign.
pub(crate) fn vectors() -> Vec<Vector> {
    let table = fs::read_to_string(folder().join("vectors.tsv")).unwrap();
    let vector = |line: &str| {
        let cells: Vec<_> = line.split('\t').map(str::to_owned).collect();
        Vector {
            name: cells[0].clone(),
            sign_type: SignType::parse(&cells[1]).unwrap(),
            key: ApiKey::parse(&cells[2]).unwrap(),
            string: cells[3].clone(),
            sign: cells[4].clone(),
            mistakes: cells[5..].to_vec(),
        }
    };
    table.lines().skip(1).map(vector).collect()
}

pub(crate) fn key() -> ApiKey {
    ApiKey::parse(KEY).unwrap()
}

pub(crate) fn other_key() -> ApiKey {
    ApiKey::parse(OTHER_KEY).unwrap()
}

/// The merchant of every sample.
pub(crate) fn credentials(sign_type: SignType) -> Credentials {
    Credentials { mch_id: MchId::parse("1699000001").unwrap(), key: key(), sign_type }
}

pub(crate) fn appid() -> AppId {
    AppId::parse("wx5f0c2e7a91d34b68").unwrap()
}

pub(crate) fn out_trade_no() -> OutTradeNo {
    OutTradeNo::parse("SO20260721A0001").unwrap()
}

pub(crate) fn order_query() -> OrderQuery {
    OrderQuery { appid: appid(), out_trade_no: out_trade_no(), sub_mch_id: None, sub_appid: None }
}

pub(crate) fn close_order() -> CloseOrder {
    CloseOrder { appid: appid(), out_trade_no: out_trade_no(), sub_mch_id: None, sub_appid: None }
}

/// Signs a message again after a test has changed it.
pub(crate) fn signed(mut fields: Fields, sign_type: SignType) -> Fields {
    let signature = sign(&fields, &key(), sign_type);
    fields.insert("sign", signature);
    fields
}
