//! A worker's reply on its way to the client.

use serde::Deserialize;
use serde_json::Value;

/// An `orders::Reply` that is passed on as it is: a worker that is newer than this ingress may add
/// fields, and the client gets all of them.
#[derive(Debug)]
pub(crate) struct WorkerReply {
    pub(crate) status: u16,
    /// The order or the problem.
    pub(crate) body: Value,
    pub(crate) is_problem: bool,
}

impl WorkerReply {
    /// `None` for bytes that are no reply.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Reply {
            status: u16,
            order: Option<Value>,
            problem: Option<Value>,
        }
        let Reply { status, order, problem } = serde_json::from_slice(bytes).ok()?;
        let (body, is_problem) = match (order, problem) {
            (Some(order), None) => (order, false),
            (None, Some(problem)) => (problem, true),
            _ => return None,
        };
        let statuses = if is_problem { 400..600 } else { 200..300 };
        let is_valid = body.is_object() && statuses.contains(&status);
        is_valid.then_some(Self { status, body, is_problem })
    }
}

#[cfg(test)]
mod tests {
    use orders::{Problem, Reply};

    use super::*;

    #[test]
    fn reply_of_a_worker_is_read() {
        let problem = Problem::not_found();
        let bytes = serde_json::to_vec(&Reply::problem(problem.clone())).unwrap();
        let reply = WorkerReply::parse(&bytes).unwrap();
        assert!(reply.is_problem);
        assert_eq!((reply.status, reply.body), (404, serde_json::to_value(problem).unwrap()));

        let bytes = br#"{"status":202,"order":{"state":"created","new":1}}"#;
        let reply = WorkerReply::parse(bytes).unwrap();
        assert!(!reply.is_problem);
        assert_eq!(reply.body["new"], 1);
    }

    #[test]
    fn anything_else_is_no_reply() {
        for bad in [
            "",
            "{}",
            r#"{"status":200}"#,
            r#"{"status":200,"order":{},"problem":{}}"#,
            r#"{"status":200,"order":"x"}"#,
            r#"{"status":100,"order":{}}"#,
            r#"{"status":200,"problem":{}}"#,
            r#"{"status":70000,"problem":{}}"#,
        ] {
            assert!(WorkerReply::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
