use serde::{Deserialize, Serialize};

use crate::StateName;

/// A problem as RFC 9457 defines it: the answer to a command that is not carried out, over HTTP
/// and over AMQP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:wxpay-orders:problem:{slug}`; it never changes.
    #[serde(rename = "type")]
    pub kind: String,
    /// The type in words.
    pub title: String,
    pub status: u16,
    /// This occurrence in words. Never holds values of the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Each wrong field with its rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// The state of the existing order, if the problem is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateName>,
    /// WeChat's code, if WeChat refused the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub err_code: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldProblem {
    /// WeChat's name of the field, if it is one of WeChat's.
    pub field: String,
    /// What the field must be.
    pub rule: String,
}

impl Problem {
    /// A problem of the type `urn:wxpay-orders:problem:{slug}`.
    #[must_use]
    pub fn new(slug: &str, title: &str, status: u16) -> Self {
        Self {
            kind: format!("urn:wxpay-orders:problem:{slug}"),
            title: title.to_owned(),
            status,
            detail: None,
            errors: Vec::new(),
            state: None,
            err_code: None,
        }
    }

    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new("malformed", "the body is not a JSON object", 400).with_detail(detail)
    }

    #[must_use]
    pub fn invalid(errors: Vec<FieldProblem>) -> Self {
        Self { errors, ..Self::new("invalid-order", "fields of the order break their rules", 422) }
    }

    #[must_use]
    pub fn refused(err_code: &str, err_code_des: &str) -> Self {
        Self {
            err_code: Some(err_code.to_owned()),
            state: Some(StateName::Failed),
            ..Self::new("refused", "WeChat Pay refused the order", 422).with_detail(err_code_des)
        }
    }

    #[must_use]
    pub fn conflict(differing: &[&str], state: StateName) -> Self {
        let differing = differing.join(", ");
        Self {
            state: Some(state),
            ..Self::new("conflict", "another order has this out_trade_no", 409)
                .with_detail(format!("differs from the existing order in: {differing}"))
        }
    }

    #[must_use]
    pub fn already_paid() -> Self {
        Self {
            state: Some(StateName::Paid),
            ..Self::new("already-paid", "a paid order cannot be closed", 409)
        }
    }

    #[must_use]
    pub fn not_found() -> Self {
        Self::new("not-found", "no such order", 404)
    }

    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new("unauthorized", "a valid bearer token is needed", 401)
    }

    #[must_use]
    pub fn forbidden() -> Self {
        Self::new("forbidden", "this client may not act for this merchant", 403)
    }

    #[must_use]
    pub fn too_large(bytes_max: usize) -> Self {
        Self::new("too-large", "the body is too large", 413)
            .with_detail(format!("at most {bytes_max} bytes"))
    }

    #[must_use]
    pub fn too_many_requests() -> Self {
        Self::new("too-many-requests", "too many requests at once; repeat later", 429)
    }

    /// Nothing was published, so that repeating is safe.
    #[must_use]
    pub fn not_accepted(detail: impl Into<String>) -> Self {
        Self::new("not-accepted", "not accepted; nothing was written", 503).with_detail(detail)
    }

    /// The command may have been published.
    #[must_use]
    pub fn unknown() -> Self {
        Self::new("unknown", "the outcome is unknown", 504)
            .with_detail("repeat with the same out_trade_no, never with a new one")
    }

    #[must_use]
    pub fn no_answer() -> Self {
        Self::new("no-answer", "no worker answered in time", 504)
    }

    #[must_use]
    pub fn internal() -> Self {
        Self::new("internal", "internal error", 500)
    }

    fn with_detail(mut self, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        self.detail = (!detail.is_empty()).then_some(detail);
        self
    }
}

impl FieldProblem {
    /// `field` must be `rule`.
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }
}
