//! The answer to a call: the decision, and its XML.

use wechatpay_v2::{ApiKey, Nonce, SignType};

use crate::calls::authenticate::Request;
use crate::faults::fault::Fault;
use crate::message::{Message, wrong_signature};

/// The decision about one call, by WeChat's three layers of results.
#[derive(Debug)]
pub(crate) enum Answer {
    /// `return_code=FAIL` with this text; never signed.
    Communication(String),
    /// `return_code=SUCCESS` and `result_code=FAIL`, signed.
    Refused { err_code: String, err_code_des: String },
    /// Both codes are `SUCCESS`, signed, with the elements of this call.
    Success(Vec<(String, String)>),
}

impl Answer {
    pub(crate) fn refused(err_code: &str, err_code_des: &str) -> Self {
        Self::Refused { err_code: err_code.to_owned(), err_code_des: err_code_des.to_owned() }
    }

    pub(crate) fn system_error() -> Self {
        Self::refused("SYSTEMERROR", "系统繁忙，请稍后再试")
    }

    /// The answer of a fault that keeps the call from taking effect.
    pub(crate) fn without_effect(fault: &Fault) -> Option<Self> {
        Some(match fault {
            // The client sees a page or nothing; the answer only keeps the call from taking effect.
            Fault::DropBefore | Fault::Status5xx | Fault::Html => Self::system_error(),
            Fault::SystemError => Self::system_error(),
            Fault::FrequencyLimited => Self::refused("FREQUENCY_LIMITED", "频率限制"),
            Fault::ErrCode { err_code, err_code_des } => Self::refused(err_code, err_code_des),
            Fault::ReturnFail(text) => Self::Communication(text.clone()),
            _ => return None,
        })
    }

    /// The name under which the call is counted.
    pub(crate) fn outcome(&self) -> &str {
        match self {
            Self::Communication(_) => "FAIL",
            Self::Refused { err_code, .. } => err_code,
            Self::Success(_) => "SUCCESS",
        }
    }

    /// Writes the answer, damaged by the fault. `request` is `None` for a call that was not
    /// authenticated: its answer has no signature.
    pub(crate) fn into_xml(self, request: Option<Request>, fault: Option<&Fault>) -> String {
        let draft = self.draft(request);
        let mut message = draft.message;
        if fault == Some(&Fault::OtherOrder) {
            let names = ["out_trade_no", "appid"];
            if let Some(name) = names.into_iter().find(|name| message.get(name).is_some()) {
                message.set(name, "wx0another0order");
            }
        }
        if let Some((key, sign_type)) = draft.signer {
            let signature = message.signature(&key, sign_type);
            match fault {
                Some(Fault::MissingSignature) => {}
                Some(Fault::BadSignature) => message.set("sign", wrong_signature(&signature)),
                _ => message.set("sign", signature),
            }
        }
        let mut xml = message.to_xml();
        match fault {
            Some(Fault::Empty) => xml.clear(),
            Some(Fault::Truncated) => xml.truncate(xml.floor_char_boundary(xml.len() * 2 / 3)),
            _ => {}
        }
        xml
    }

    fn draft(self, request: Option<Request>) -> Draft {
        match (self, request) {
            (Self::Success(elements), Some(request)) => signed(&request, "SUCCESS", elements),
            (Self::Refused { err_code, err_code_des }, Some(request)) => {
                let elements = [("err_code", err_code), ("err_code_des", err_code_des)];
                signed(&request, "FAIL", elements)
            }
            (Self::Communication(return_msg), _) => unsigned(&return_msg),
            (_, None) => unsigned("签名错误"),
        }
    }
}

struct Draft {
    message: Message,
    signer: Option<(ApiKey, SignType)>,
}

fn unsigned(return_msg: &str) -> Draft {
    Draft { message: Message::failure(return_msg), signer: None }
}

/// WeChat repeats some elements of the request before those of the answer.
fn signed<N: Into<String>>(
    request: &Request,
    result_code: &str,
    elements: impl IntoIterator<Item = (N, String)>,
) -> Draft {
    let mut message = Message::default();
    message.set("return_code", "SUCCESS");
    message.set("return_msg", "OK");
    let echoed = ["appid", "mch_id", "sub_appid", "sub_mch_id", "device_info"];
    message.echo(&request.fields, &echoed);
    message.set("nonce_str", Nonce::generate());
    message.set("result_code", result_code);
    message.extend(elements);
    Draft { message, signer: Some((request.merchant.key.clone(), request.sign_type)) }
}
