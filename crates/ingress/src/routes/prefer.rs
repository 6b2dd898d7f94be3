//! The `wait` preference of RFC 7240.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use orders::FieldProblem;

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Longer than a round trip to WeChat, shorter than the timeout of most proxies.
const SECONDS_MAX: u64 = 30;

/// How long the client wants to wait for the worker's reply, if at all.
///
/// Other preferences are ignored; of several `wait`s the first one counts, as RFC 7240 has it.
pub(crate) fn wait(headers: &HeaderMap) -> Result<Option<Duration>, FieldProblem> {
    let rule = || FieldProblem::new("Prefer", format!("wait=N with N from 1 to {SECONDS_MAX}"));
    for value in headers.get_all(PREFER) {
        for preference in split_outside_quotes(value.as_bytes(), b',') {
            let mut parts = split_outside_quotes(preference, b';');
            let Some((name, value)) = parts.next().map(name_and_value) else {
                continue;
            };
            if name.eq_ignore_ascii_case(b"wait") {
                return seconds(value).ok_or_else(rule).map(Some);
            }
        }
    }
    Ok(None)
}

fn seconds(digits: &[u8]) -> Option<Duration> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (1..=SECONDS_MAX).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// `name = value` or `name = "value"`; the value is empty when there is none.
fn name_and_value(preference: &[u8]) -> (&[u8], &[u8]) {
    let Some(at) = preference.iter().position(|byte| *byte == b'=') else {
        return (preference.trim_ascii(), b"");
    };
    let name = preference[..at].trim_ascii();
    let value = preference[at + 1..].trim_ascii();
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    (name, unquoted.unwrap_or(value))
}

fn split_outside_quotes(bytes: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    bytes.split(move |byte| {
        let literal = std::mem::take(&mut escaped);
        match byte {
            b'\\' if quoted && !literal => escaped = true,
            b'"' if !literal => quoted = !quoted,
            _ => {}
        }
        *byte == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<Option<u64>, FieldProblem> {
        let headers = values.iter().map(|value| (PREFER, value.parse().unwrap())).collect();
        wait(&headers).map(|wait| wait.map(|wait| wait.as_secs()))
    }

    #[test]
    fn wait_is_found_among_other_preferences() {
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&["respond-async"]), Ok(None));
        assert_eq!(parse(&["wait=5"]), Ok(Some(5)));
        assert_eq!(parse(&["respond-async, Wait = \"30\" ; x=1"]), Ok(Some(30)));
        assert_eq!(parse(&["return=minimal", "handling=lenient, wait=1"]), Ok(Some(1)));
        assert_eq!(parse(&["wait=2, wait=9"]), Ok(Some(2)), "the first one counts");
        assert_eq!(parse(&["foo=\"a, wait=\\\"3\", wait=4"]), Ok(Some(4)), "not the quoted one");
        assert_eq!(parse(&[",, ,"]), Ok(None));
    }

    #[test]
    fn wait_out_of_bounds_is_refused() {
        for bad in
            ["wait", "wait=", "wait=0", "wait=31", "wait=-1", "wait=+5", "wait=1.5", "wait=x"]
        {
            assert_eq!(parse(&[bad]).unwrap_err().field, "Prefer", "{bad}");
        }
    }
}
