//! The `traceparent` header of W3C Trace Context, version 00.

use uuid::Uuid;

/// The header's name, over HTTP and AMQP alike.
pub const TRACEPARENT: &str = "traceparent";

/// Whether this is `00-{trace id}-{parent id}-{flags}`, all lower-case hex, no id all zeros. What a
/// later version appends is not understood here and is not passed on.
#[must_use]
pub fn is_valid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace_id, parent_id, flags] = parts.as_slice() else {
        return false;
    };
    *version == "00" && is_id(trace_id, 32) && is_id(parent_id, 16) && is_hex(flags, 2)
}

/// Begins a trace. Its flags mean "not sampled", since nothing here exports spans.
#[must_use]
pub fn generate() -> String {
    let trace_id = Uuid::now_v7().simple();
    let parent_id = Uuid::now_v7().as_u64_pair().1;
    format!("00-{trace_id}-{parent_id:016x}-00")
}

fn is_id(text: &str, length: usize) -> bool {
    is_hex(text, length) && text.bytes().any(|byte| byte != b'0')
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn version_00_alone_is_valid() {
        assert!(is_valid(GIVEN));
        let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let upper = GIVEN.to_uppercase();
        let longer = format!("{GIVEN}-00");
        for bad in ["", "x", zeros, &upper, &longer, &GIVEN.replacen("00", "ff", 1)] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn generated_ones_are_valid_and_differ() {
        let one = generate();
        assert!(is_valid(&one), "{one}");
        assert_ne!(one, generate());
    }
}
