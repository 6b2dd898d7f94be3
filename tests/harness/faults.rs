//! Gateway faults that several tests share.

use simulator::Fault;

/// Every fault that makes the outcome of a call unknown.
pub fn unknown_outcomes() -> Vec<Fault> {
    vec![
        Fault::DropBefore,
        Fault::DropAfterCommit,
        Fault::SystemError,
        Fault::SystemErrorAfterCommit,
        Fault::Status5xx,
        Fault::Html,
        Fault::Empty,
        Fault::Truncated,
        Fault::BadSignature,
        Fault::MissingSignature,
        Fault::OtherOrder,
        Fault::FrequencyLimited,
        Fault::ReturnFail("系统繁忙".to_owned()),
    ]
}
