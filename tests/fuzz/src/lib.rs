//! Shared parts of the fuzz targets: keys, signed samples, and a memory limit.
//!
//! A target asserts a property, not only the absence of panics. Its input is a message, a NUL, which
//! no message contains, and the bytes from which the target draws its choices.

use std::alloc::System;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use cap::Cap;
use wechatpay_v2::{ApiKey, Credentials, Fields, Limits, MchId, SignType};
use wechatpay_v2::{parse_xml, sign, verify};

/// 16 MiB, 256 times the largest message. A parser that needs more has no limit. Without a sanitizer
/// libFuzzer measures only the whole process, once a second.
const ALLOCATED_BYTES_MAX: usize = 16 * 1024 * 1024;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, ALLOCATED_BYTES_MAX);

pub const SIGN_TYPES: [SignType; 2] = [SignType::Md5, SignType::HmacSha256];

pub use orders::testing::{APPID, MCH_ID, OUT_TRADE_NO};

/// The text of [`key`].
pub const KEY: &str = "OrderWorkerDemoKeyV2Only00000002";

/// The key of every sample.
pub fn key() -> ApiKey {
    ApiKey::parse(KEY).expect("a valid key")
}

/// A key of another merchant.
pub fn other_key() -> ApiKey {
    ApiKey::parse("OrderWorkerDemoKeyV2Only00000003").expect("a valid key")
}

/// The credentials of the samples' merchant.
pub fn credentials(sign_type: SignType) -> Credentials {
    let mch_id = MchId::parse(MCH_ID).expect("a valid merchant number");
    Credentials { mch_id, key: key(), sign_type }
}

/// The bytes from which a target draws its choices. They end in zeros.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `bound`. `bound` is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % bound
    }

    /// `true` if the next byte is even.
    pub fn next_is_even(&mut self) -> bool {
        self.byte() & 1 == 0
    }

    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Splits an input into the message and the choices after its NUL.
pub fn split(input: &[u8]) -> (&[u8], Choices<'_>) {
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    (&input[..end], Choices(input.get(end + 1..).unwrap_or_default()))
}

/// The same fields, signed with [`key`].
pub fn signed(mut fields: Fields, sign_type: SignType) -> Fields {
    if fields.contains("sign_type") {
        fields.insert("sign_type", sign_type.as_str());
    }
    fields.remove("sign");
    let signature = sign(&fields, &key(), sign_type);
    fields.insert("sign", signature);
    fields
}

/// The meaning of a message: its elements without the signature, empty elements and outer space.
pub fn meaning(fields: &Fields) -> Meaning {
    let pairs = fields.iter().map(|(name, text)| (name, text.trim_ascii()));
    let signed = pairs.filter(|(name, text)| *name != "sign" && !text.is_empty());
    signed.map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

pub type Meaning = Vec<(String, String)>;

/// Whether a signed sample has the same string to sign. No other message can be signed with the key,
/// because no input contains it.
pub fn is_a_sample(fields: &Fields) -> bool {
    static SAMPLES: LazyLock<BTreeSet<String>> = LazyLock::new(samples);
    SAMPLES.contains(&string_to_sign(fields))
}

/// The string does not mark where a text ends and the next element begins.
fn string_to_sign(fields: &Fields) -> String {
    meaning(fields).into_iter().map(|(name, text)| format!("{name}={text}&")).collect()
}

fn samples() -> BTreeSet<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/wechatpay-v2/tests/samples");
    let files = std::fs::read_dir(folder).expect("the folder of samples");
    let bytes = files.filter_map(|file| std::fs::read(file.ok()?.path()).ok());
    let parsed = bytes.filter_map(|bytes| parse_xml(&bytes, Limits::MESSAGE).ok());
    let authentic = parsed.filter(|fields| verify(fields, &key()).is_ok());
    let strings: BTreeSet<_> = authentic.map(|fields| string_to_sign(&fields)).collect();
    assert!(strings.len() > 30, "samples are missing");
    strings
}
