//! House rules, held by reading manifests, sources and documents as text.
#![allow(clippy::unwrap_used, reason = "in a test a failure is a panic")]

mod documents;
mod imports;
mod layout;
mod places;
mod text;
mod walls;
mod words;
