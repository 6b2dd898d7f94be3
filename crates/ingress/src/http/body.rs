//! A request's body, within its bounds of size and time.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::CONTENT_ENCODING;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::limits::BODY_BYTES_MAX;

/// A body that is too large is read up to here and discarded: a client whose connection is closed
/// while it writes may never see the answer that tells it why.
const DISCARDED_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The body is longer than [`BODY_BYTES_MAX`].
    TooLarge,
    /// Not whole in time.
    TooSlow,
    /// Compressed. Nothing here decompresses, so no small body can become a gigabyte.
    Encoded,
    /// Not HTTP, or the connection broke.
    Broken,
}

/// Reads the body whole. `within` bounds all of it, not each piece.
pub(crate) async fn read(request: Request, within: Duration) -> Result<Bytes, BodyError> {
    let is_encoded = is_encoded(&request);
    let body = collect(request.into_body(), within).await?;
    if is_encoded { Err(BodyError::Encoded) } else { Ok(body) }
}

/// Reads and discards the body of a request that is refused without regard to it.
pub(crate) async fn discard(request: Request, within: Duration) {
    let _ = collect(request.into_body(), within).await;
}

async fn collect(mut body: Body, within: Duration) -> Result<Bytes, BodyError> {
    let deadline = Instant::now() + within;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > DISCARDED_BYTES_MAX {
        return Err(BodyError::TooLarge);
    }
    let mut kept = BytesMut::with_capacity(announced.min(BODY_BYTES_MAX));
    let mut received = 0;
    while received <= DISCARDED_BYTES_MAX {
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) if received > BODY_BYTES_MAX => break,
            Ok(Some(Err(_))) => return Err(BodyError::Broken),
            Err(_elapsed) => return Err(BodyError::TooSlow),
        };
        // Trailers are ignored.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        received += data.len();
        if received <= BODY_BYTES_MAX {
            kept.extend_from_slice(&data);
        }
    }
    if received > BODY_BYTES_MAX { Err(BodyError::TooLarge) } else { Ok(kept.freeze()) }
}

fn is_encoded(request: &Request) -> bool {
    let mut encodings = request.headers().get_all(CONTENT_ENCODING).iter();
    !encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}
