//! A long text in pieces that are read into tokens one after the other, so that no more than a
//! piece is held at a time, and reading stops when there are tokens enough.
//!
//! A piece ends where tokens do not depend on what follows: at best before the space between two
//! words. Where a text has no such place for as long as a piece, it is cut anyway; the tokens at
//! that one place may then differ from those of the text read whole. A word that the tokenizer
//! takes for unknown because of its length is one piece however long it is, for it is one token.

/// The side of a text that is read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Start,
    End,
}

/// The pieces of a text, in the order in which they are read.
pub struct Pieces<'a> {
    rest: &'a str,
    from: From,
    /// Bytes of a piece, more or less.
    size: usize,
    words: Words,
}

/// What the tokenizer makes of a word without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// Any number of tokens.
    Any,
    /// One token for "unknown" if it has more characters than this; punctuation and ideographs
    /// are words of their own (WordPiece).
    UnknownBeyond(usize),
}

/// How good a place between two characters is for a cut, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    WithinWord,
    /// Words end here for [`Words::UnknownBeyond`] alone.
    Isolated,
    BeforeSpace,
    BetweenWords,
}

impl<'a> Pieces<'a> {
    pub fn new(text: &'a str, from: From, size: usize, words: Words) -> Pieces<'a> {
        Pieces {
            rest: text,
            from,
            // Room for what makes a word unknown, in characters of any length.
            size: match words {
                Words::Any => size.max(8),
                Words::UnknownBeyond(longest) => size.max(4 * (longest + 2)),
            },
            words,
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn place(&self, before: char, after: char, next: Option<char>) -> Place {
        let is_space = char::is_whitespace;
        let isolated = |c: char| is_punctuation(c) || is_ideograph(c);
        if after == ' ' && before.is_alphanumeric() && next.is_some_and(char::is_alphanumeric) {
            Place::BetweenWords
        } else if is_space(after) && !is_space(before) {
            Place::BeforeSpace
        } else if self.words != Words::Any && (isolated(before) || isolated(after)) {
            // A bracket may be the end of a special token.
            match matches!(after, ']' | '>' | '}') {
                true => Place::WithinWord,
                false => Place::Isolated,
            }
        } else {
            Place::WithinWord
        }
    }

    /// The best place for a cut in a window of the text, the farthest from where reading begins,
    /// if words end in the window at all.
    fn cut(&self, window: &str) -> Option<usize> {
        let mut best = (Place::WithinWord, 0);
        let mut chars = window.char_indices().peekable();
        let mut before = None;
        while let Some((at, after)) = chars.next() {
            let next = chars.peek().map(|(_, next)| *next);
            if let Some(before) = before {
                let place = self.place(before, after, next);
                let better = match self.from {
                    From::Start => place >= best.0,
                    From::End => place > best.0,
                };
                if better && place > Place::WithinWord {
                    best = (place, at);
                }
            }
            before = Some(after);
        }
        (best.0 > Place::WithinWord).then_some(best.1)
    }

    fn next_from_start(&mut self) -> &'a str {
        let window = &self.rest[..self.rest.floor_char_boundary(self.size)];
        if let Some(at) = self.cut(window) {
            let (piece, rest) = self.rest.split_at(at);
            self.rest = rest;
            return piece;
        }
        // What is left of an unknown word adds nothing to its beginning.
        let end = match self.words {
            Words::Any => window.len(),
            Words::UnknownBeyond(_) => {
                let rest = &self.rest[window.len()..];
                let ends = |c: char| c.is_whitespace() || is_punctuation(c) || is_ideograph(c);
                window.len() + rest.find(ends).unwrap_or(rest.len())
            }
        };
        self.rest = &self.rest[end..];
        window
    }

    fn next_from_end(&mut self) -> &'a str {
        let start = self.rest.ceil_char_boundary(self.rest.len() - self.size);
        let window = &self.rest[start..];
        if let Some(at) = self.cut(window) {
            let (rest, piece) = self.rest.split_at(start + at);
            self.rest = rest;
            return piece;
        }
        let end = match self.words {
            Words::Any => start,
            Words::UnknownBeyond(_) => {
                let rest = &self.rest[..start];
                let ends = |c: char| c.is_whitespace() || is_punctuation(c) || is_ideograph(c);
                let last = rest.char_indices().rev().find(|(_, c)| ends(*c));
                last.map_or(0, |(at, c)| at + c.len_utf8())
            }
        };
        self.rest = &self.rest[..end];
        window
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        if self.rest.len() <= self.size {
            return Some(std::mem::take(&mut self.rest));
        }
        Some(match self.from {
            From::Start => self.next_from_start(),
            From::End => self.next_from_end(),
        })
    }
}

/// Punctuation, as far as it has to be known: a mark that is missed is a place less for a cut.
fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || matches!(c, '\u{2010}'..='\u{2027}' | '\u{3001}'..='\u{3003}')
}

/// The characters that BERT's tokenizers put spaces around.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{20000}'..='\u{2A6DF}'
        | '\u{2A700}'..='\u{2CEAF}' | '\u{F900}'..='\u{FAFF}' | '\u{2F800}'..='\u{2FA1F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str, from: From, size: usize, words: Words) -> Vec<&str> {
        Pieces::new(text, from, size, words).collect()
    }

    #[test]
    fn pieces_end_before_the_space_between_words_and_join_to_the_text() {
        let text = "one two, three   four five";
        let parts = pieces(text, From::Start, 12, Words::Any);
        assert_eq!(parts, ["one", " two, three", "   four five"]);
        assert_eq!(parts.concat(), text);
        let mut parts = pieces(text, From::End, 12, Words::Any);
        parts.reverse();
        assert_eq!(parts.concat(), text);
    }

    #[test]
    fn a_text_without_a_place_is_cut_between_characters() {
        let text = "é".repeat(20);
        for from in [From::Start, From::End] {
            let parts = pieces(&text, from, 9, Words::Any);
            assert!(parts.iter().all(|part| part.len() <= 9));
            assert_eq!(parts.concat(), text);
        }
    }

    #[test]
    fn of_a_word_that_is_unknown_by_its_length_one_piece_is_read() {
        let text = format!("a {} b", "x".repeat(1000));
        for from in [From::Start, From::End] {
            let parts = pieces(&text, from, 16, Words::UnknownBeyond(5));
            let read: usize = parts.iter().map(|part| part.len()).sum();
            assert!(read < 100, "{read} bytes are read");
            let is_x = |part: &&&str| part.contains('x');
            assert_eq!(parts.iter().filter(is_x).count(), 1, "{parts:?}");
        }
    }
}
