//! Who is calling the private API.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header::AUTHORIZATION},
    middleware::Next,
    response::{IntoResponse, Response},
};
use orders::Problem;
use service::clients_file::Client;
use wechatpay_v2::MchId;

use crate::{App, body, problem::Declined};

/// Whoever sent a request; nobody in particular where no clients are configured.
#[derive(Clone)]
pub(crate) struct Caller(Option<Arc<Client>>);

impl Caller {
    /// The client's name.
    pub(crate) fn name(&self) -> Option<&str> {
        self.0.as_deref().map(|client| client.name.as_str())
    }

    pub(crate) fn check_may_act_for(&self, mch_id: &MchId) -> Result<(), Declined> {
        match &self.0 {
            Some(client) if !client.scope.contains(mch_id) => Err(Problem::forbidden().into()),
            _ => Ok(()),
        }
    }
}

/// Middleware: 401, or a [`Caller`] for the handlers.
pub(crate) async fn authenticate(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match &app.clients {
        None => Caller(None),
        Some(clients) => match bearer(request.headers()).and_then(|token| clients.find(token)) {
            Some(client) => Caller(Some(Arc::clone(client))),
            None => {
                body::discard(request, app.limits.private_body_within).await;
                return Declined::from(Problem::unauthorized()).into_response();
            }
        },
    };
    request.extensions_mut().insert(caller.clone());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(caller);
    response
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}
