use super::*;

const SECOND: Duration = Duration::from_secs(1);
const CONFIG: BreakerConfig = BreakerConfig {
    failures_max: 3,
    pause_first: SECOND,
    pause_max: Duration::from_secs(4),
    jitter: 0.0,
};

#[derive(Clone, Copy, Debug)]
enum Event {
    Begin,
    Refuse(u64),
    Succeed,
    Fail,
    Drop,
    /// The call that began in the first generation.
    FirstSucceed,
    FirstFail,
    Wait(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Closed(u32),
    Open,
    HalfOpen,
}

/// Applies events and compares the state after each.
fn expect_states(steps: &[(Event, Expected)]) {
    let mut breaker = Breaker::new(CONFIG);
    let mut now = Instant::now();
    let first = Generation(0);
    let mut last = Generation(0);
    for (step, (event, expected)) in steps.iter().enumerate() {
        match event {
            Event::Begin => last = breaker.acquire(now).unwrap_or_else(|_| panic!("step {step}")),
            Event::Refuse(ms) => {
                assert_eq!(breaker.acquire(now), Err(Duration::from_millis(*ms)), "step {step}");
            }
            Event::Succeed => breaker.record_success(last),
            Event::Fail => breaker.record_failure(last, now),
            Event::Drop => breaker.record_dropped(last, now),
            Event::FirstSucceed => breaker.record_success(first),
            Event::FirstFail => breaker.record_failure(first, now),
            Event::Wait(ms) => now += Duration::from_millis(*ms),
        }
        let state = match breaker.state() {
            State::Closed { failures } => Expected::Closed(failures),
            State::Open { .. } => Expected::Open,
            State::HalfOpen => Expected::HalfOpen,
        };
        assert_eq!(state, *expected, "step {step}: {event:?}");
    }
}

#[test]
fn breaker_opens_only_after_failures_in_a_row() {
    expect_states(&[
        (Event::Begin, Expected::Closed(0)),
        (Event::Fail, Expected::Closed(1)),
        (Event::Fail, Expected::Closed(2)),
        (Event::Succeed, Expected::Closed(0)),
        (Event::Fail, Expected::Closed(1)),
        (Event::Drop, Expected::Closed(1)),
        (Event::Fail, Expected::Closed(2)),
        (Event::Fail, Expected::Open),
        (Event::Refuse(1000), Expected::Open),
    ]);
}

#[test]
fn probe_closes_the_breaker_or_opens_it_for_longer() {
    expect_states(&[
        (Event::Fail, Expected::Closed(1)),
        (Event::Fail, Expected::Closed(2)),
        (Event::Fail, Expected::Open),
        (Event::Wait(999), Expected::Open),
        (Event::Refuse(1), Expected::Open),
        (Event::Wait(1), Expected::Open),
        (Event::Begin, Expected::HalfOpen),
        (Event::Refuse(1000), Expected::HalfOpen),
        (Event::Fail, Expected::Open),
        (Event::Refuse(2000), Expected::Open),
        (Event::Wait(2000), Expected::Open),
        (Event::Begin, Expected::HalfOpen),
        (Event::Fail, Expected::Open),
        (Event::Refuse(4000), Expected::Open),
        (Event::Wait(4000), Expected::Open),
        (Event::Begin, Expected::HalfOpen),
        (Event::Fail, Expected::Open),
        (Event::Refuse(4000), Expected::Open),
        (Event::Wait(4000), Expected::Open),
        (Event::Begin, Expected::HalfOpen),
        (Event::Succeed, Expected::Closed(0)),
        (Event::Begin, Expected::Closed(0)),
        (Event::Fail, Expected::Closed(1)),
        (Event::Fail, Expected::Closed(2)),
        (Event::Fail, Expected::Open),
        (Event::Refuse(1000), Expected::Open),
    ]);
}

#[test]
fn dropped_probe_leaves_the_breaker_open() {
    expect_states(&[
        (Event::Fail, Expected::Closed(1)),
        (Event::Fail, Expected::Closed(2)),
        (Event::Fail, Expected::Open),
        (Event::Wait(1000), Expected::Open),
        (Event::Begin, Expected::HalfOpen),
        (Event::Drop, Expected::Open),
        (Event::Refuse(2000), Expected::Open),
    ]);
}

#[test]
fn calls_of_an_earlier_generation_are_ignored() {
    expect_states(&[
        (Event::Fail, Expected::Closed(1)),
        (Event::Fail, Expected::Closed(2)),
        (Event::Fail, Expected::Open),
        (Event::FirstSucceed, Expected::Open),
        (Event::FirstFail, Expected::Open),
        (Event::Wait(1000), Expected::Open),
        (Event::Begin, Expected::HalfOpen),
        (Event::FirstFail, Expected::HalfOpen),
        (Event::FirstSucceed, Expected::HalfOpen),
        (Event::Succeed, Expected::Closed(0)),
        (Event::FirstFail, Expected::Closed(0)),
    ]);
}

#[test]
fn jitter_stays_within_its_share() {
    for _ in 0..100 {
        let mut breaker = Breaker::new(BreakerConfig { failures_max: 1, jitter: 0.5, ..CONFIG });
        let now = Instant::now();
        let generation = breaker.acquire(now).unwrap();
        breaker.record_failure(generation, now);
        let pause = breaker.open_for(now).unwrap();
        assert!(pause >= SECOND / 2 && pause <= SECOND * 3 / 2 + Duration::from_millis(1));
    }
}
