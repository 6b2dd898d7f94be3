//! The channels that events are published on.

use std::collections::HashMap;

use broker::{Connection, Publisher, PublisherLimits};
use tokio::time::Instant;
use wechatpay_v2::MchId;

use super::lanes::Lanes;
use super::limits::{CHANNEL_REPLACED_AFTER, COMMON_CHANNELS, OWN_CHANNELS_MAX};

/// The unconfirmed events of lagging merchants come on top of the window.
const COMMON: PublisherLimits = PublisherLimits { queued: 1024, in_flight: 1024 };
const OWN: PublisherLimits = PublisherLimits { queued: 64, in_flight: 64 };

/// The channels of all merchants whose queues confirm in time, on one connection.
pub(super) struct CommonChannels {
    connection: Connection,
    channels: [Channel; COMMON_CHANNELS],
    /// Of each channel that was in use last.
    ended: [u64; COMMON_CHANNELS],
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

impl CommonChannels {
    pub(super) fn new(connection: Connection) -> Self {
        let channels = std::array::from_fn(|_| Channel::open(&connection, COMMON));
        Self { connection, channels, ended: [0; COMMON_CHANNELS] }
    }

    pub(super) fn publisher(&self, channel: usize) -> Publisher {
        self.channels[channel].publisher.clone()
    }

    /// While the broker is away or blocked, no confirm can be expected.
    pub(super) fn is_up(&self) -> bool {
        self.connection.is_up()
    }

    /// Whether one of them is another channel than at the last call.
    pub(super) fn have_changed(&mut self) -> bool {
        let ended = std::array::from_fn(|it| self.channels[it].publisher.channels_ended());
        std::mem::replace(&mut self.ended, ended) != ended
    }

    pub(super) fn replace_overdue(&mut self, lanes: &mut Lanes, now: Instant) {
        for (index, channel) in self.channels.iter_mut().enumerate() {
            if is_overdue(lanes.oldest_on_common(index, channel.since), now) {
                *channel = Channel::open(&self.connection, COMMON);
                lanes.forget_trust();
            }
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
