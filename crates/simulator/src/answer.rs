//! What a call is answered, and how it is written.

use wechatpay_v2::{ApiKey, Nonce, SignType};

use crate::door::Request;
use crate::message::Message;

/// The decision about one call: the three result layers of reference 0.3.
#[derive(Debug)]
pub(crate) enum Answer {
    /// `return_code=FAIL` with this text; never signed.
    Communication(String),
    /// `result_code=FAIL`, signed.
    Refused { err_code: String, err_code_des: String },
    /// `result_code=SUCCESS`, signed, with the elements of this call.
    Success(Vec<(String, String)>),
}

impl Answer {
    pub(crate) fn refused(err_code: &str, err_code_des: &str) -> Self {
        Self::Refused { err_code: err_code.to_owned(), err_code_des: err_code_des.to_owned() }
    }

    pub(crate) fn system_error() -> Self {
        Self::refused("SYSTEMERROR", "系统繁忙，请稍后再试")
    }

    /// How the call is counted.
    pub(crate) fn outcome(&self) -> &str {
        match self {
            Self::Communication(_) => "FAIL",
            Self::Refused { err_code, .. } => err_code,
            Self::Success(_) => "SUCCESS",
        }
    }
}

/// An answer in elements, and who signs it (nobody, when communication failed).
pub(crate) struct Draft {
    pub(crate) message: Message,
    pub(crate) signer: Option<(ApiKey, SignType)>,
}

/// Writes a communication failure.
pub(crate) fn unsigned(return_msg: &str) -> Draft {
    let mut message = Message::default();
    message.set("return_code", "FAIL");
    message.set("return_msg", return_msg);
    Draft { message, signer: None }
}

/// Writes an answer. Without a verified request there is nobody to sign for.
pub(crate) fn draft(answer: Answer, request: Option<Request>) -> Draft {
    match (answer, request) {
        (Answer::Success(elements), Some(request)) => signed(&request, "SUCCESS", elements),
        (Answer::Refused { err_code, err_code_des }, Some(request)) => {
            let elements = [("err_code", err_code), ("err_code_des", err_code_des)];
            signed(&request, "FAIL", elements)
        }
        (Answer::Communication(return_msg), _) => unsigned(&return_msg),
        (_, None) => unsigned("签名错误"),
    }
}

/// Echoes what WeChat echoes (reference 2.1), then the elements of this answer.
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
