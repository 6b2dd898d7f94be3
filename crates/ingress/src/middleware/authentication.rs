//! Who is calling the private API.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use orders::Problem;
use service::clients_file::Client;
use tracing::Span;
use wechatpay_v2::MchId;

use crate::api_error::ApiError;
use crate::app::App;
use crate::http::body;

/// The client that sent a request, or `None` where no clients are configured.
#[derive(Clone)]
pub(crate) struct Caller(Option<Arc<Client>>);

impl Caller {
    pub(crate) fn check_may_act_for(&self, mch_id: &MchId) -> Result<(), ApiError> {
        match &self.0 {
            Some(client) if !client.scope.contains(mch_id) => Err(Problem::forbidden().into()),
            _ => Ok(()),
        }
    }
}

/// Answers 401, or adds a [`Caller`] for the handlers.
pub(crate) async fn authenticate(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(clients) = &app.clients else {
        request.extensions_mut().insert(Caller(None));
        return next.run(request).await;
    };
    let Some(client) = bearer_token(request.headers()).and_then(|token| clients.find(token)) else {
        body::discard(request, app.limits.private_body_timeout).await;
        return ApiError::from(Problem::unauthorized()).into_response();
    };
    Span::current().record("client", client.name.as_str());
    request.extensions_mut().insert(Caller(Some(Arc::clone(client))));
    next.run(request).await
}

fn bearer_token(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}
