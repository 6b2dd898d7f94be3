//! Looks whether the gateway answers at all, and what time it is there.

use std::time::{Duration, Instant};

use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::Client;

/// That the gateway answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// With which HTTP status. Any will do: nothing was asked.
    pub status: u16,
    /// From the request to the head of the answer, the connection included.
    pub elapsed: Duration,
    /// The gateway's clock when it answered, cut to the second.
    pub date: Option<OffsetDateTime>,
}

/// Why the gateway did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// There is no connection: a name, a port, or TLS.
    #[error("no connection to the gateway")]
    Connection,
    /// There was none in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke, or what came was no HTTP.
    #[error("the connection broke before the answer was complete")]
    Broken,
}

impl Client {
    /// Sends the primary host `GET /`, without a key, a merchant or an order: nothing can come of
    /// it but an answer. The backup host is not tried.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn probe(&self) -> Result<Probe, ProbeError> {
        let host = self.hosts.primary_url();
        let begun = Instant::now();
        let sent = self.http.get(format!("{host}/")).timeout(self.call_timeout).send().await;
        let response = sent.map_err(|error| {
            // A connection that is not made in time is no answer in time, too.
            if error.is_timeout() {
                ProbeError::Timeout
            } else if error.is_connect() {
                ProbeError::Connection
            } else {
                ProbeError::Broken
            }
        })?;
        let date = response.headers().get("date").and_then(|date| http_date(date.to_str().ok()?));
        Ok(Probe { status: response.status().as_u16(), elapsed: begun.elapsed(), date })
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that a server may send (RFC 9110, 5.6.7).
fn http_date(text: &str) -> Option<OffsetDateTime> {
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    PrimitiveDateTime::parse(text.trim_ascii(), form).ok().map(PrimitiveDateTime::assume_utc)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn dates_are_read_in_the_one_form() {
        let date = datetime!(1994-11-06 08:49:37 UTC);
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(date));
        for bad in ["", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 +0800"] {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }
}
