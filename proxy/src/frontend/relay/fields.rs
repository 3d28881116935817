//! The head of an answer that is passed on.

use tidegate_protocol::REQUEST_ID_HEADER;

use crate::backend::Answer;
use crate::frontend::head::{HeadWriter, Terms};

/// The fields that belong to one connection and end here (RFC 9110, section 7.6.1), and those that
/// are written anew.
const NOT_PASSED_ON: [&str; 10] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    REQUEST_ID_HEADER,
];

/// The head as the client is to see it.
pub fn head(
    answer: &Answer,
    length: Option<u64>,
    chunked: bool,
    room: usize,
    terms: &Terms,
) -> Vec<u8> {
    let status = answer.status();
    let mut head = HeadWriter::new(status, room);
    let fields = answer.fields();
    let mut dated = false;
    for (name, value) in fields.iter() {
        let left_out = |listed: &str| name.eq_ignore_ascii_case(listed.as_bytes());
        let cors =
            terms.origin.is_some() && name.to_ascii_lowercase().starts_with(b"access-control-");
        if NOT_PASSED_ON.into_iter().any(left_out) || cors || fields.is_of_this_hop(name) {
            continue;
        }
        dated |= name.eq_ignore_ascii_case(b"date");
        head.raw_field(name, value);
    }
    if !dated {
        head.date();
    }
    let bodiless =
        status == http::StatusCode::NO_CONTENT || status == http::StatusCode::NOT_MODIFIED;
    match length {
        _ if bodiless => {}
        Some(length) => {
            head.length(length);
        }
        None if chunked => {
            head.field("transfer-encoding", "chunked");
        }
        None => {}
    }
    head.finish(terms)
}
