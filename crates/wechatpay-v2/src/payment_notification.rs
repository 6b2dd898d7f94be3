//! "The customer has paid", as WeChat posts it (reference 3).
//!
//! A notification proves nothing until it is verified, so the types go one way:
//! [`Received`] → [`Verified`] → [`Payment`].

use crate::{ApiKey, FieldError, Fields, Limits, Payment, SignType, SignatureError, XmlError};
use crate::{parse_xml, signature::verify_as_signed};

/// Parsed, not verified: good for finding the merchant whose key verifies it, and nothing else.
#[derive(Clone, Debug)]
pub struct Received(Fields);

/// Signed by someone who knows the merchant's key.
#[derive(Clone, Debug)]
pub struct Verified {
    fields: Fields,
    sign_type: SignType,
}

/// Why a notification can never settle an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// Not a message at all.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// `return_code` is missing or not `SUCCESS`; such a message is not even signed.
    #[error("return_code is not SUCCESS")]
    ReturnCode,
    /// Not authentic under any of the keys.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Authentic, but not about a payment that succeeded.
    #[error("result_code is not SUCCESS")]
    ResultCode,
    /// Authentic, but a field of the payment is missing or malformed.
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

    /// The merchant it claims to be for.
    #[must_use]
    pub fn mch_id(&self) -> Option<&str> {
        self.0.get("mch_id")
    }

    /// The order it claims to be about: good for asking WeChat, and nothing else.
    #[must_use]
    pub fn out_trade_no(&self) -> Option<&str> {
        self.0.get("out_trade_no")
    }

    /// Verifies it under the merchant's keys: the current one, then those that still count.
    ///
    /// # Errors
    /// When it is authentic under none of them; the error is that of the first key.
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
    /// The algorithm of its signature. It must be the one of the order: the message itself does
    /// not say (reference 1.1).
    #[must_use]
    pub fn sign_type(&self) -> SignType {
        self.sign_type
    }

    /// The order it is about, as it stands there: it need not be a number that we would give.
    #[must_use]
    pub fn out_trade_no(&self) -> Option<&str> {
        self.fields.get("out_trade_no")
    }

    /// The payment.
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
