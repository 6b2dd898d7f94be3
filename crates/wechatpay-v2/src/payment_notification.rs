//! The notification that an order is paid ([protocol](crate::protocol#payment-notifications)).
//!
//! A notification proves nothing until it is verified. The types enforce the order:
//! [`Received`] → [`Verified`] → [`Payment`].

use crate::signature::verify_as_signed;
use crate::{
    ApiKey, FieldError, Fields, Limits, Payment, SignType, SignatureError, XmlError, parse_xml,
};

/// A notification that is parsed but not verified. It only serves to find the merchant's keys.
#[derive(Clone, Debug)]
pub struct Received(Fields);

/// A notification that was signed with the merchant's key.
#[derive(Clone, Debug)]
pub struct Verified {
    fields: Fields,
    sign_type: SignType,
}

/// Why a notification proves no payment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// The body is not a flat XML message.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// `return_code` is missing or not `SUCCESS`. Such a message is not signed.
    #[error("return_code is not SUCCESS")]
    ReturnCode,
    /// None of the keys verifies the signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It is authentic, but reports no successful payment.
    #[error("result_code is not SUCCESS")]
    ResultCode,
    /// It is authentic, but a field of the payment is missing or malformed.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl Received {
    /// Parses the body as it was posted.
    ///
    /// # Errors
    /// When the bytes are no flat XML message, or its `return_code` is not `SUCCESS`.
    pub fn parse(body: &[u8]) -> Result<Self, NotificationError> {
        let fields = parse_xml(body, Limits::MESSAGE)?;
        match fields.get("return_code") {
            Some("SUCCESS") => Ok(Self(fields)),
            _ => Err(NotificationError::ReturnCode),
        }
    }

    /// The merchant that the unverified message names. Look up the keys by it.
    #[must_use]
    pub fn mch_id(&self) -> Option<&str> {
        self.0.get("mch_id")
    }

    /// The order that the unverified message names. Use it only to query WeChat.
    #[must_use]
    pub fn out_trade_no(&self) -> Option<&str> {
        self.0.get("out_trade_no")
    }

    /// Verifies the signature with the merchant's keys: the current one, then older ones that are
    /// still valid.
    ///
    /// # Errors
    /// When no key verifies it. The error is that of the first key.
    pub fn verify<'a>(
        self,
        keys: impl IntoIterator<Item = &'a ApiKey>,
    ) -> Result<Verified, NotificationError> {
        let mut first = None;
        for key in keys {
            match verify_as_signed(&self.0, key) {
                Ok((sign_type, fields)) => {
                    return Ok(Verified { fields: fields.into_owned(), sign_type });
                }
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or(SignatureError::Wrong).into())
    }
}

impl Verified {
    /// The algorithm of the signature. Compare it with the order's, because the message need not
    /// contain a `sign_type`.
    #[must_use]
    pub fn sign_type(&self) -> SignType {
        self.sign_type
    }

    /// The order that the message names, unchecked: it can break the rules of
    /// [`OutTradeNo`](crate::OutTradeNo).
    #[must_use]
    pub fn out_trade_no(&self) -> Option<&str> {
        self.fields.get("out_trade_no")
    }

    /// Reads the payment that the message reports.
    ///
    /// # Errors
    /// When `result_code` is not `SUCCESS`, or a field of the payment is missing or malformed.
    pub fn payment(&self) -> Result<Payment, NotificationError> {
        match self.fields.get("result_code") {
            Some("SUCCESS") => Ok(Payment::from_fields(&self.fields)?),
            _ => Err(NotificationError::ResultCode),
        }
    }
}
