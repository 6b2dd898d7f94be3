//! The worker's answer on its way to the client.

use serde::Deserialize;
use serde_json::Value;

/// An `orders::Reply`, read loosely: a worker that is newer than this ingress may say more than
/// this ingress knows, and the client shall get all of it.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The order or the problem.
    pub(crate) body: Value,
    /// Which of the two.
    pub(crate) is_problem: bool,
}

impl Answer {
    /// `None` when it is no answer at all.
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
        let fits =
            body.is_object() && (if is_problem { 400..600 } else { 200..300 }).contains(&status);
        fits.then_some(Self { status, body, is_problem })
    }
}

#[cfg(test)]
mod tests {
    use orders::{Problem, Reply};

    use super::*;

    #[test]
    fn reads_what_a_worker_writes() {
        let problem = Problem::not_found();
        let reply = serde_json::to_vec(&Reply::problem(problem.clone())).unwrap();
        let answer = Answer::parse(&reply).unwrap();
        assert!(answer.is_problem);
        assert_eq!((answer.status, answer.body), (404, serde_json::to_value(problem).unwrap()));

        let answer =
            Answer::parse(br#"{"status":202,"order":{"state":"created","new":1}}"#).unwrap();
        assert!(!answer.is_problem);
        assert_eq!(answer.body["new"], 1);
    }

    #[test]
    fn anything_else_is_no_answer() {
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
            assert!(Answer::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
