//! What the targets share: keys, the signed samples, and a bound on memory.
//!
//! A target asserts a property, not only that nothing panics. Its input is a message; what a target
//! has to choose beside the message follows behind a NUL, which no message holds.

use std::alloc::System;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use cap::Cap;
use wechatpay_v2::{ApiKey, Credentials, Fields, Limits, MchId, SignType};
use wechatpay_v2::{parse_xml, sign, verify};

/// 16 MiB, 256 times the largest message: whoever needs more can be made to need anything. Without
/// a sanitizer libFuzzer sees the whole process only, and that once in a second.
const ALLOCATED_BYTES_MAX: usize = 16 * 1024 * 1024;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, ALLOCATED_BYTES_MAX);

/// Both algorithms.
pub const SIGN_TYPES: [SignType; 2] = [SignType::Md5, SignType::HmacSha256];

/// The sample order.
pub use orders::testing::{APPID, MCH_ID, OUT_TRADE_NO};

/// The key of every sample, in text.
pub const KEY: &str = "OrderWorkerDemoKeyV2Only00000002";

/// The key of every sample.
pub fn key() -> ApiKey {
    ApiKey::parse(KEY).expect("the samples' key is one")
}

/// A key of somebody else.
pub fn other_key() -> ApiKey {
    ApiKey::parse("OrderWorkerDemoKeyV2Only00000003").expect("the other key is one")
}

/// The samples' merchant.
pub fn credentials(sign_type: SignType) -> Credentials {
    let mch_id = MchId::parse(MCH_ID).expect("the samples' merchant has a number");
    Credentials { mch_id, key: key(), sign_type }
}

/// The choices behind the message; zeros when they run out.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % bound
    }

    /// Whether to go on as usual.
    pub fn usual(&mut self) -> bool {
        self.byte() & 1 == 0
    }

    /// Whatever has not been used.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// The message, and the choices behind its NUL.
pub fn split(input: &[u8]) -> (&[u8], Choices<'_>) {
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    (&input[..end], Choices(input.get(end + 1..).unwrap_or_default()))
}

/// The same fields, signed by us.
pub fn signed(mut fields: Fields, sign_type: SignType) -> Fields {
    if fields.contains("sign_type") {
        fields.insert("sign_type", sign_type.as_str());
    }
    fields.remove("sign");
    let signature = sign(&fields, &key(), sign_type);
    fields.insert("sign", signature);
    fields
}

/// What a message says: its elements without the signature, the empty ones and outer white space.
pub fn meaning(fields: &Fields) -> Meaning {
    let pairs = fields.iter().map(|(name, text)| (name, text.trim_ascii()));
    let said = pairs.filter(|(name, text)| *name != "sign" && !text.is_empty());
    said.map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

/// See [`meaning`].
pub type Meaning = Vec<(String, String)>;

/// Whether a signed sample says the same, as far as a signature can tell. Nothing else can be signed
/// with the key, for no input holds it.
pub fn is_a_sample(fields: &Fields) -> bool {
    static SAMPLES: LazyLock<BTreeSet<String>> = LazyLock::new(samples);
    SAMPLES.contains(&string_to_sign(fields))
}

/// It does not tell where a text ends and the next element begins.
fn string_to_sign(fields: &Fields) -> String {
    meaning(fields).into_iter().map(|(name, text)| format!("{name}={text}&")).collect()
}

fn samples() -> BTreeSet<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/wechatpay-v2/tests/samples");
    let files = std::fs::read_dir(folder).expect("the samples are there");
    let bytes = files.filter_map(|file| std::fs::read(file.ok()?.path()).ok());
    let parsed = bytes.filter_map(|bytes| parse_xml(&bytes, Limits::MESSAGE).ok());
    let authentic = parsed.filter(|fields| verify(fields, &key()).is_ok());
    let strings: BTreeSet<_> = authentic.map(|fields| string_to_sign(&fields)).collect();
    assert!(strings.len() > 30, "the samples are there");
    strings
}
