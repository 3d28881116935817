//! AWS's event stream: messages of headers and a payload, each sealed by two CRCs.
//!
//! Layout, all numbers big-endian: length u32, headers' length u32, CRC-32 of those eight bytes;
//! headers; payload; CRC-32 of everything before it. A header is its name's length u8, the name,
//! 7 for "a string", the value's length u16, the value.

use serde_json::json;

const PRELUDE_BYTES: usize = 12;
const CRC_BYTES: usize = 4;

/// Type of a header's value: a string.
const STRING: u8 = 7;

/// A piece of an answer.
pub fn part(payload: &[u8]) -> Vec<u8> {
    message(
        &[
            (":message-type", "event"),
            (":event-type", "PayloadPart"),
            (":content-type", "application/octet-stream"),
        ],
        payload,
    )
}

/// That the answer breaks off here.
pub fn broken() -> Vec<u8> {
    let payload = json!({
        "Message": "The answer broke off at the worker.",
        "ErrorCode": "StreamBroken",
    });
    message(
        &[
            (":message-type", "exception"),
            (":exception-type", "ModelStreamError"),
            (":content-type", "application/json"),
        ],
        payload.to_string().as_bytes(),
    )
}

fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(name.len() as u8);
        block.extend_from_slice(name.as_bytes());
        block.push(STRING);
        block.extend_from_slice(&(value.len() as u16).to_be_bytes());
        block.extend_from_slice(value.as_bytes());
    }
    let length = PRELUDE_BYTES + block.len() + payload.len() + CRC_BYTES;
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&(length as u32).to_be_bytes());
    message.extend_from_slice(&(block.len() as u32).to_be_bytes());
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(&block);
    message.extend_from_slice(payload);
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_message_is_as_the_format_has_it() {
        // From the format's description: length 16, no headers, and the two CRCs.
        let expected = [0, 0, 0, 16, 0, 0, 0, 0, 5, 194, 72, 235, 125, 152, 200, 255];
        assert_eq!(message(&[], &[]), expected);
    }

    #[test]
    fn lengths_and_seals_fit() {
        let message = part(b"abc");
        let number = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().expect("four"));
        assert_eq!(number(0) as usize, message.len());
        assert_eq!(&message[message.len() - 7..message.len() - 4], b"abc");
        assert_eq!(number(8), crc32fast::hash(&message[..8]));
        let end = message.len() - 4;
        assert_eq!(number(end), crc32fast::hash(&message[..end]));
    }
}
