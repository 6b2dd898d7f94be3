//! Random numbers from the seed. Each kind of event has its own stream, so that one kind does not
//! shift another.

use fastrand::Rng;

#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Servers,
    Processes,
    Network,
    Orders,
}

pub(crate) fn stream(seed: u64, stream: Stream) -> Rng {
    Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(stream as u64))
}

/// Draws one of the choices by its weight.
pub(crate) fn weighted<T: Copy>(rng: &mut Rng, choices: &[(u32, T)]) -> T {
    let all = choices.iter().map(|(weight, _)| weight).sum();
    let mut left = rng.u32(0..all);
    for (weight, choice) in choices {
        if left < *weight {
            return *choice;
        }
        left -= weight;
    }
    choices[0].1
}
