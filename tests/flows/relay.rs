//! Events reach their shops whatever the load, and whatever another shop's queue does.

mod frozen_queue;
mod refused;
mod replays;
mod saturation;
