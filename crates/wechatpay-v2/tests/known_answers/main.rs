//! Every sample and every vector, processed by the code that processes such messages in use.

#![allow(clippy::unwrap_used, reason = "a helper that panics fails the test")]

mod calls;
mod notifications;
mod refunds;
mod requests;
#[path = "../samples/mod.rs"]
mod samples;
mod secrecy;
mod signatures;

use std::collections::BTreeMap;

/// Otherwise a lost or misnamed sample would be skipped silently.
#[test]
fn no_sample_is_missing() {
    let all = samples::all();
    let mut counts = BTreeMap::new();
    for sample in all.values() {
        *counts.entry(sample.check.as_str()).or_insert(0) += 1;
    }
    let expected =
        [("hmac", 5), ("md5", 39), ("plain", 2), ("refund", 2), ("reject", 3), ("unsigned", 13)];
    assert_eq!(counts, BTreeMap::from(expected));
    assert_eq!(samples::vectors().len(), 16);
    for (prefix, last) in [
        ("U", 6),
        ("E", 9),
        ("N", 15),
        ("A", 2),
        ("Q", 12),
        ("C", 3),
        ("R", 4),
        ("RN", 2),
        ("B", 4),
        ("M", 2),
        ("NA", 3),
    ] {
        for number in 1..=last {
            assert!(all.contains_key(&format!("{prefix}{number}")));
        }
    }
}
