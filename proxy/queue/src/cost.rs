//! What a request costs, before anything has read its text: an estimate in tokens.

use tidegate_protocol::api::Kind;

/// Bytes of a body that make a token, about: English text in JSON.
const BYTES_PER_TOKEN: usize = 4;

/// Tokens that are generated for a request that does not limit them.
const GENERATED: u64 = 256;

/// Tokens that a request of this kind takes of a worker's capacity: those of its body, and for
/// generated text those that it may ask for at most. 1 or more.
pub fn cost(kind: Kind, body_bytes: usize, max_tokens: Option<u64>) -> u64 {
    let read = (body_bytes / BYTES_PER_TOKEN).max(1) as u64;
    match kind {
        Kind::Generate => read.saturating_add(max_tokens.unwrap_or(GENERATED)),
        _ => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_text_costs_what_it_may_come_to() {
        assert_eq!(cost(Kind::Embed, 0, None), 1);
        assert_eq!(cost(Kind::Embed, 4000, Some(9)), 1000);
        assert_eq!(cost(Kind::Generate, 400, Some(50)), 150);
        assert_eq!(cost(Kind::Generate, 400, None), 356);
        assert_eq!(cost(Kind::Generate, 400, Some(u64::MAX)), u64::MAX);
    }
}
