//! WeChat Pay API v2 for the merchant's side: signing, XML, calls and notifications.
//!
//! Requests are signed. Answers and notifications are verified over every element that was
//! received. Each answer becomes one [`CallOutcome`]: success, a refusal with its reason, or
//! unknown. The crate keeps no state, reads no clock and opens no socket; the feature `client` adds
//! an HTTP client. The module [`protocol`] documents the protocol itself, with sources.
//!
//! ```
//! use wechatpay_v2::{ApiKey, Fields, SignType, sign};
//!
//! let key = ApiKey::parse("192006250b4c09247ec02edce69f6a2d")?;
//! let fields: Fields = [
//!     ("appid", "wxd930ea5d5a258f4f"),
//!     ("mch_id", "10000100"),
//!     ("device_info", "1000"),
//!     ("body", "test"),
//!     ("nonce_str", "ibuaiVcKdpRxkhJA"),
//! ]
//! .into_iter()
//! .collect();
//! assert_eq!(sign(&fields, &key, SignType::Md5), "9A0A8659F005D6984697E2CA0A9CF3B7");
//! # Ok::<(), wechatpay_v2::FieldError>(())
//! ```

#![warn(missing_docs)]

mod api_key;
mod beijing_time;
mod call_outcome;
mod credentials;
mod fen;
mod fields;
mod hex;
mod ids;
mod nonce;
mod signature;
mod xml;

pub mod closeorder;
pub mod notification_answer;
pub mod orderquery;
pub mod pay_params;
pub mod payment;
pub mod payment_notification;
pub mod refund_notification;
pub mod unifiedorder;

#[cfg(feature = "client")]
pub mod client;

pub use api_key::ApiKey;
pub use beijing_time::BeijingTime;
pub use call_outcome::{Advice, CallOutcome, Refused, Unknown};
pub use credentials::Credentials;
pub use fen::Fen;
pub use fields::Fields;
pub use ids::{AppId, FieldError, MchId, OpenId, OutTradeNo, PrepayId, TransactionId};
pub use nonce::Nonce;
pub use payment::{Coupon, Payment};
pub use signature::{SignType, SignatureError, sign, verify};
pub use xml::{Limits, XmlError, parse_xml, write_xml};

/// What this crate relies on when it signs, sends, reads and verifies (the file `PROTOCOL.md`).
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}

#[cfg(all(doctest, feature = "client"))]
#[doc = include_str!("../README.md")]
struct Readme;
