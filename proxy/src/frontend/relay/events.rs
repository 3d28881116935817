//! Streams of server-sent events whose worker may break off. Events are passed on whole, so that the
//! stream can end with one that says what happened. A client that reads events then knows that the
//! answer is incomplete, and why; otherwise it has to guess from a connection that closes.

use crate::backend::Answer;

/// Bytes of one event that are held back until it is complete. A larger one is passed on in parts.
const MOST_HELD: usize = 64 << 10;

/// The events of one answer.
#[derive(Default)]
pub struct Events {
    /// The beginning of an event.
    held: Vec<u8>,
    /// Part of an event has been passed on.
    in_parts: bool,
}

impl Events {
    /// None for an answer that is not a stream of events.
    pub fn of(answer: &Answer) -> Option<Events> {
        let is_events = |(name, value): (&[u8], &[u8])| {
            let kind = b"text/event-stream";
            name.eq_ignore_ascii_case(b"content-type")
                && value.len() >= kind.len()
                && value[..kind.len()].eq_ignore_ascii_case(kind)
        };
        let streams = answer.length().is_none() && answer.fields().iter().any(is_events);
        streams.then(Events::default)
    }

    /// Takes what came, and gives what is to be passed on.
    pub fn pass(&mut self, data: Vec<u8>) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.held);
        // What was held has no end, but perhaps the beginning of one.
        let known = all.len().saturating_sub(2);
        match all.is_empty() {
            true => all = data,
            false => all.extend_from_slice(&data),
        }
        match end_of_events(&all, known) {
            Some(end) => {
                self.held = all.split_off(end);
                self.in_parts = false;
                all
            }
            None if self.in_parts || all.len() > MOST_HELD => {
                self.in_parts = true;
                all
            }
            None => {
                self.held = all;
                Vec::new()
            }
        }
    }

    /// What is held at the end of the answer.
    pub fn rest(self) -> Vec<u8> {
        self.held
    }

    /// Whether an event may be added: not in the middle of one, which cannot be taken back.
    pub fn may_add(&self) -> bool {
        !self.in_parts
    }
}

/// Behind the last empty line that ends after `known`: lines end with LF, CR LF or CR.
fn end_of_events(data: &[u8], known: usize) -> Option<usize> {
    let ends = |at: &usize| {
        let before = &data[..*at];
        [&b"\n\n"[..], b"\n\r\n", b"\r\r"]
            .iter()
            .any(|end| before.ends_with(end))
    };
    (known + 1..=data.len()).rev().find(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed on of these pieces, and what is held.
    fn passed(pieces: &[&str]) -> (String, String) {
        let mut events = Events::default();
        let passed = pieces
            .iter()
            .flat_map(|piece| events.pass(piece.as_bytes().to_vec()));
        let passed: Vec<u8> = passed.collect();
        assert!(events.may_add());
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (text(passed), text(events.rest()))
    }

    #[test]
    fn events_are_passed_on_whole() {
        let both = |passed: &str, held: &str| (passed.to_owned(), held.to_owned());
        assert_eq!(passed(&["data: 1\n\n"]), both("data: 1\n\n", ""));
        assert_eq!(passed(&["data: 1\n", "\n"]), both("data: 1\n\n", ""));
        assert_eq!(passed(&["data: 1\r", "\r"]), both("data: 1\r\r", ""));
        assert_eq!(
            passed(&["data: 1\r\n\r", "\n"]),
            both("data: 1\r\n\r\n", "")
        );
        assert_eq!(
            passed(&["data: 1\n\nda", "ta"]),
            both("data: 1\n\n", "data")
        );
        assert_eq!(
            passed(&["da", "ta: 1\n\n: 2\n\n"]),
            both("data: 1\n\n: 2\n\n", "")
        );
    }

    #[test]
    fn a_large_event_is_passed_on_in_parts() {
        let mut events = Events::default();
        assert_eq!(events.pass(vec![b'a'; MOST_HELD]).len(), 0);
        assert_eq!(events.pass(b"b".to_vec()).len(), MOST_HELD + 1);
        assert_eq!(events.pass(b"c".to_vec()), b"c");
        assert!(!events.may_add());
        assert_eq!(events.pass(b"\n\nd".to_vec()), b"\n\n");
        assert!(events.may_add());
    }
}
