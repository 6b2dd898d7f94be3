//! The channels that events are published on.

use std::collections::HashMap;

use broker::{Connection, Publisher, PublisherLimits};
use tokio::time::Instant;
use wechatpay_v2::MchId;

use super::lanes::Lanes;
use super::limits::{CHANNEL_REPLACED_AFTER, OWN_CHANNELS_MAX};

/// The unconfirmed events of lagging merchants come on top of the window.
const COMMON: PublisherLimits = PublisherLimits { queued: 4096, in_flight: 4096 };
const OWN: PublisherLimits = PublisherLimits { queued: 64, in_flight: 64 };

/// The channel of all merchants whose queues confirm in time.
pub(super) struct CommonChannel {
    connection: Connection,
    channel: Channel,
    /// Of the channel that was in use last.
    channels_ended: u64,
}

/// The channels of single merchants, on one connection.
pub(super) struct OwnChannels {
    connection: Connection,
    channels: HashMap<MchId, Channel>,
}

struct Channel {
    publisher: Publisher,
    since: Instant,
}

impl CommonChannel {
    pub(super) fn new(connection: Connection) -> Self {
        let channel = Channel::open(&connection, COMMON);
        Self { connection, channel, channels_ended: 0 }
    }

    pub(super) fn publisher(&self) -> Publisher {
        self.channel.publisher.clone()
    }

    /// While the broker is away or blocked, no confirm can be expected.
    pub(super) fn is_up(&self) -> bool {
        self.connection.is_up()
    }

    /// Whether it is another channel than at the last call.
    pub(super) fn has_changed(&mut self) -> bool {
        let before = self.channels_ended;
        self.channels_ended = self.channel.publisher.channels_ended();
        before != self.channels_ended
    }

    pub(super) fn replace_if_overdue(&mut self, lanes: &mut Lanes, now: Instant) {
        let oldest = lanes.oldest_on_common(self.channel.since);
        if is_overdue(oldest, now) {
            self.channel = Channel::open(&self.connection, COMMON);
            lanes.forget_trust();
        }
    }
}

impl OwnChannels {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, channels: HashMap::new() }
    }

    /// The merchant's channel, which is opened if need be. `None` when there are too many.
    pub(super) fn publisher(&mut self, mch_id: &MchId) -> Option<Publisher> {
        if self.channels.len() >= OWN_CHANNELS_MAX && !self.channels.contains_key(mch_id) {
            return None;
        }
        let channel = self.channels.entry(mch_id.clone());
        let channel = channel.or_insert_with(|| Channel::open(&self.connection, OWN));
        Some(channel.publisher.clone())
    }

    /// Closes those that are not used any more, and replaces those that owe a confirm for too long.
    pub(super) fn tidy(&mut self, lanes: &Lanes, now: Instant) {
        self.channels.retain(|mch_id, channel| {
            let oldest = lanes.oldest_on_own(mch_id, channel.since);
            lanes.uses_own_channel(mch_id) && !is_overdue(oldest, now)
        });
    }
}

impl Channel {
    /// The channel that it replaces ends with its last confirm, or when it has brought none for a
    /// minute: then what it owes is unknown, and is published again.
    fn open(connection: &Connection, limits: PublisherLimits) -> Self {
        let publisher = Publisher::start(connection.clone(), limits);
        Self { publisher, since: Instant::now() }
    }
}

fn is_overdue(oldest: Option<Instant>, now: Instant) -> bool {
    oldest.is_some_and(|oldest| now.duration_since(oldest) >= CHANNEL_REPLACED_AFTER)
}
