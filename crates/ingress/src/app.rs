use tokio_util::sync::CancellationToken;

use crate::outbound::Outbound;
use crate::{Clients, Limits, Merchants};

/// What the handlers of both listeners share.
pub(crate) struct App {
    pub(crate) outbound: Outbound,
    pub(crate) merchants: Merchants,
    pub(crate) clients: Option<Clients>,
    pub(crate) limits: Limits,
    /// Cancelled when the service is about to end.
    pub(crate) stop: CancellationToken,
}
