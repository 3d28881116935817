//! An answer's text while it grows: letters are never cut, and no part of a stop string is shown.

/// Turns the bytes of tokens into text that may be shown.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    stops: Vec<String>,
    /// Whether a stop string is part of what is shown.
    show_stop: bool,
    /// What came and is not shown yet.
    held: Vec<u8>,
    stopped: Option<usize>,
}

impl TextStream {
    /// Empty stop strings are none.
    pub fn new(stops: Vec<String>, show_stop: bool) -> TextStream {
        TextStream {
            stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(),
            show_stop,
            ..TextStream::default()
        }
    }

    /// Takes the bytes of the next token, and gives what may be shown now. After a stop string
    /// nothing is shown any more.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        if self.stopped.is_some() {
            return String::new();
        }
        self.held.extend_from_slice(bytes);
        if let Some((at, stop)) = self.first_stop() {
            self.stopped = Some(stop);
            let end = match self.show_stop {
                true => at + self.stops[stop].len(),
                false => at,
            };
            self.held.truncate(end);
            return self.take(end);
        }
        let certain = self.held.len() - self.beginning_of_stop();
        self.take(certain)
    }

    /// The stop string that ended the answer.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.map(|stop| &self.stops[stop][..])
    }

    /// What is left when the answer ends otherwise.
    pub fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        String::from_utf8_lossy(&held).into_owned()
    }

    /// The first `length` bytes of what is held, as far as they are whole letters.
    fn take(&mut self, length: usize) -> String {
        let ready = &self.held[..length];
        let whole = length - incomplete(ready);
        let text = String::from_utf8_lossy(&ready[..whole]).into_owned();
        self.held.drain(..whole);
        text
    }

    /// The earliest stop string; of several there the first.
    fn first_stop(&self) -> Option<(usize, usize)> {
        let each = self.stops.iter().enumerate();
        let found = each.filter_map(|(index, stop)| {
            let at = find(&self.held, stop.as_bytes())?;
            Some((at, index))
        });
        found.min()
    }

    /// Bytes at the end that may be the beginning of a stop string.
    fn beginning_of_stop(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let most = longest.saturating_sub(1).min(self.held.len());
        let ends = (1..=most).rev();
        let is_beginning = |length: &usize| {
            let end = &self.held[self.held.len() - length..];
            self.stops
                .iter()
                .any(|stop| stop.as_bytes().starts_with(end))
        };
        let mut ends = ends.filter(is_beginning);
        ends.next().unwrap_or(0)
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// Bytes at the end that are the beginning of a letter.
fn incomplete(bytes: &[u8]) -> usize {
    let last = bytes.len().saturating_sub(3);
    for start in (last..bytes.len()).rev() {
        let letter = match bytes[start] {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            // In the middle of a letter.
            0x80..=0xBF => continue,
            _ => return 0,
        };
        let left = bytes.len() - start;
        return if left < letter { left } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(stops: &[&str], show_stop: bool) -> TextStream {
        TextStream::new(
            stops.iter().map(|stop| (*stop).to_owned()).collect(),
            show_stop,
        )
    }

    #[test]
    fn letters_are_shown_whole() {
        let mut text = stream(&[], false);
        let emoji = "🙂".as_bytes();
        assert_eq!(text.push(&emoji[..1]), "");
        assert_eq!(text.push(&emoji[1..3]), "");
        assert_eq!(text.push(&emoji[3..]), "🙂");
        assert_eq!(text.push(&[b'a', 0xC3]), "a");
        assert_eq!(text.finish(), "\u{FFFD}");
        // A byte that no letter begins with is not waited for.
        assert_eq!(text.push(&[0xFF]), "\u{FFFD}");
    }

    #[test]
    fn stop_strings_are_found_across_tokens_and_hidden() {
        let mut text = stream(&["END", "\n\n"], false);
        assert_eq!(text.push(b"one\n"), "one");
        assert_eq!(text.push(b"two E"), "\ntwo ");
        assert_eq!(text.push(b"N"), "");
        assert_eq!(text.push(b"Dmore"), "");
        assert_eq!(text.stopped(), Some("END"));
        assert_eq!(
            (text.push(b"x"), text.finish()),
            (String::new(), String::new())
        );
        let mut text = stream(&["END"], true);
        assert_eq!(
            (text.push(b"aEN"), text.push(b"D.")),
            ("a".into(), "END".into())
        );
    }

    #[test]
    fn what_was_no_stop_string_is_shown() {
        let mut text = stream(&["STOP"], false);
        assert_eq!(text.push(b"xST"), "x");
        assert_eq!(text.push(b"ST"), "ST");
        assert_eq!(text.push(b"AY"), "STAY");
        assert_eq!(text.push(b" ST"), " ");
        assert_eq!(text.finish(), "ST");
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_text_is_the_same(text in "[abß🙂]{0,30}", cuts in prop::collection::vec(1usize..5, 0..40)) {
            let whole = text.find("ab").map_or(&text[..], |at| &text[..at]);
            let mut stream = stream(&["ab"], false);
            let (mut shown, mut left) = (String::new(), text.as_bytes());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = left.split_at(cut.min(left.len()));
                shown += &stream.push(now);
                left = later;
            }
            shown += &stream.finish();
            prop_assert_eq!(shown, whole);
        }
    }
}
