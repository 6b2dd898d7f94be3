//! WeChat Pay API v2 on the wire.
//!
//! What goes out is signed, what comes in is verified over every element that was received, and
//! each answer becomes one [`CallOutcome`]: *yes*, *no* with the reason, or *unknown*. Nothing here
//! keeps state, reads a clock or opens a socket; the HTTP client stands behind the feature `client`.
//!
//! "Reference 4.3" in a comment means that section of the project's notes on the protocol.
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

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
