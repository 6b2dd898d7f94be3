//! Checks whether the gateway answers at all, and reads its clock.

use std::time::{Duration, Instant};

use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::Client;

/// The gateway's answer to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The HTTP status. Any status shows that the gateway answers.
    pub status: u16,
    /// The time from the request to the head of the answer, including the connection.
    pub elapsed: Duration,
    /// The gateway's clock when it answered, in whole seconds.
    pub date: Option<OffsetDateTime>,
}

/// Why the gateway did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// No connection could be made: the name, the port or TLS failed.
    #[error("no connection to the gateway")]
    Connection,
    /// No answer arrived in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke, or the answer was not HTTP.
    #[error("the connection broke before the answer was complete")]
    Broken,
}

impl Client {
    /// Sends `GET /` to the primary host only. The request names no merchant and no order, so it
    /// has no effect.
    ///
    /// # Errors
    /// When no answer arrives. The backup host is not tried.
    pub async fn probe(&self) -> Result<Probe, ProbeError> {
        let host = self.hosts.primary_url();
        let start = Instant::now();
        let sent = self.http.get(format!("{host}/")).timeout(self.call_timeout).send().await;
        let response = sent.map_err(|error| {
            // First, because a connect timeout is both.
            if error.is_timeout() {
                ProbeError::Timeout
            } else if error.is_connect() {
                ProbeError::Connection
            } else {
                ProbeError::Broken
            }
        })?;
        let date = response.headers().get("date").and_then(|date| http_date(date.to_str().ok()?));
        Ok(Probe { status: response.status().as_u16(), elapsed: start.elapsed(), date })
    }
}

// `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that a server may send (RFC 9110, 5.6.7).
fn http_date(text: &str) -> Option<OffsetDateTime> {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    PrimitiveDateTime::parse(text.trim_ascii(), format).ok().map(PrimitiveDateTime::assume_utc)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn date_in_another_form_is_none() {
        let date = datetime!(1994-11-06 08:49:37 UTC);
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(date));
        for bad in ["", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 +0800"] {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }
}
