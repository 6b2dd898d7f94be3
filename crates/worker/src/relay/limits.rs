//! The bounds of the relay.

use std::time::Duration;

/// Unconfirmed events on the common channels, without those of lagging merchants.
pub(super) const WINDOW: usize = 1024;
/// Unconfirmed events of one merchant on one channel. A channel with more than 32 unconfirmed
/// messages for one quorum queue makes the broker stop reading the whole connection
/// (`quorum_commands_soft_limit`; rabbitmq-server#1883, #2334).
pub(super) const UNCONFIRMED_MAX: usize = 16;
/// Common channels. With 16 events on each, one merchant gets 128 confirms in the time of one.
pub(super) const COMMON_CHANNELS: usize = 8;
/// Unconfirmed replays of all merchants together.
pub(super) const REPLAYS_UNCONFIRMED_MAX: usize = 64;
/// A merchant with an unconfirmed event of this age is lagging. Less than the time in which an
/// event belongs to its writer, so that no other worker publishes it meanwhile.
pub(super) const LAGGING_AFTER: Duration = Duration::from_millis(1500);
/// For so long after a confirm on a merchant's own channel its queues are taken to answer.
pub(super) const PROBE_HOLDS: Duration = Duration::from_secs(1);
/// Merchants with a channel of their own. Events of further ones stay in the outbox meanwhile.
/// RabbitMQ allows 2,047 channels on a connection.
pub(super) const OWN_CHANNELS_MAX: usize = 1000;
/// A confirm that is still missing after this may be lost in the client library: the channel is
/// replaced.
pub(super) const CHANNEL_REPLACED_AFTER: Duration = Duration::from_secs(600);

/// Events from the writers that wait in memory, of one merchant and of all; the others wait in the
/// outbox.
pub(super) const WRITTEN_WAITING_MAX: usize = 4096;
pub(super) const WRITTEN_WAITING_MAX_OF_ALL: usize = 8192;

/// Events of one merchant that one sweep takes. With as many as `SWEPT_LOW` waiting, the next
/// sweep brings more.
pub(super) const SWEPT_MAX: usize = 512;
pub(super) const SWEPT_LOW: usize = SWEPT_MAX / 2;
/// The same for all merchants together.
pub(super) const SWEPT_MAX_OF_ALL: usize = 1024;
pub(super) const SWEPT_LOW_OF_ALL: usize = SWEPT_MAX_OF_ALL / 2;
/// The same for replays.
pub(super) const REPLAYS_MAX: usize = 256;
pub(super) const REPLAYS_LOW: usize = REPLAYS_MAX / 2;

/// Confirmed events that wait to be removed from the outbox. With more, nothing is published.
pub(super) const CONFIRMED_MAX: usize = 4096;
