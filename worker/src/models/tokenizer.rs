//! From text to token ids, and the one place that knows how long a text may be.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use thiserror::Error;
use tokenizers::{Encoding, PostProcessor, Tokenizer, TruncationDirection};

use super::ModelError;
use super::network::Sequence;

/// Whether texts are lowered before they are read into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Casing {
    Keep,
    Lower,
}

/// What to do with a text that is longer than the model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlong {
    Refuse,
    /// Leave out what is too much at its end.
    CutEnd,
    /// Leave out what is too much at its beginning.
    CutStart,
}

/// What is read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    One(&'a str),
    /// Two texts that are judged together: a query and a document.
    Pair(&'a str, &'a str),
}

/// Whether the tokens that frame a text are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    Special,
    Bare,
}

/// A token and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: u32,
    pub text: String,
    pub special: bool,
    /// Characters of the text; none for a special token.
    pub place: Option<(usize, usize)>,
}

/// A text read into tokens, without its frame.
#[derive(Clone, Debug)]
pub struct Part {
    /// At most as many tokens as the model reads.
    encoding: Encoding,
    /// All tokens of the text.
    tokens: usize,
}

pub struct TextTokenizer {
    tokenizer: Tokenizer,
    limits: Limits,
    casing: Casing,
}

/// What the model reads.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest text, in tokens, special ones included.
    pub tokens: usize,
    /// Token ids are below this.
    pub vocabulary: usize,
    /// Kinds of tokens are below this.
    pub kinds: usize,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum TokenizeError {
    #[error("the text has {tokens} tokens, the model reads at most {limit}")]
    TooLong { tokens: usize, limit: usize },
    #[error("nothing is left of the text when it is read into tokens")]
    Empty,
    #[error("token id {id} does not exist, the model has {vocabulary}")]
    UnknownToken { id: u64, vocabulary: usize },
    #[error("the text cannot be read into tokens: {0}")]
    Failed(String),
}

impl From<tokenizers::Error> for TokenizeError {
    fn from(error: tokenizers::Error) -> Self {
        TokenizeError::Failed(error.to_string())
    }
}

impl TextTokenizer {
    /// Parses a tokenizer.json; `file` is its name for messages. Its own truncation and padding
    /// are dropped: they belong to how the model was trained, not to how it is served.
    ///
    /// The tokenizers library panics on some files that are damaged: those are refused like others.
    pub fn parse(
        json: &[u8],
        file: &Path,
        limits: Limits,
        casing: Casing,
    ) -> Result<Self, ModelError> {
        let invalid = |problem: String| ModelError::Invalid {
            file: file.to_owned(),
            problem,
        };
        let read = catch_unwind(AssertUnwindSafe(|| Self::read(json, limits, casing)));
        read.unwrap_or_else(|_| Err("the tokenizers library panicked on it".to_owned()))
            .map_err(invalid)
    }

    fn read(json: &[u8], limits: Limits, casing: Casing) -> Result<Self, String> {
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|error| error.to_string())?;
        let entries = tokenizer.get_vocab_size(true);
        if entries > limits.vocabulary {
            return Err(format!(
                "it has {entries} tokens, config.json has a vocab_size of {}",
                limits.vocabulary
            ));
        }
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| error.to_string())?;
        // The frame of a text and that of a pair are tried here, not on a request.
        tokenizer
            .encode("a", true)
            .map_err(|error| error.to_string())?;
        // Kinds come from the frame alone, so that one pair shows all there are.
        let pair = tokenizer.encode(("a", "b"), true);
        let pair = pair.map_err(|error| error.to_string())?;
        let kind = pair.get_type_ids().iter().copied().max().unwrap_or(0);
        if kind as usize >= limits.kinds {
            return Err(format!(
                "it gives tokens the type id {kind}, config.json has a type_vocab_size of {}",
                limits.kinds
            ));
        }
        Ok(TextTokenizer {
            tokenizer,
            limits,
            casing,
        })
    }

    /// The longest text, in tokens, special ones included.
    pub fn limit(&self) -> usize {
        self.limits.tokens
    }

    /// Reads a text or a pair of texts, the frame of special tokens included.
    pub fn encode(&self, text: Text<'_>, overlong: Overlong) -> Result<Sequence, TokenizeError> {
        match text {
            Text::One(text) => self.framed(self.part(text, overlong)?, None, overlong),
            Text::Pair(first, second) => {
                let first = self.part(first, overlong)?;
                self.encode_second(&first, second, overlong)
            }
        }
    }

    /// Reads the second text of a pair whose first one is read already, as with many documents for
    /// one query.
    pub fn encode_second(
        &self,
        first: &Part,
        second: &str,
        overlong: Overlong,
    ) -> Result<Sequence, TokenizeError> {
        let second = self.part(second, overlong)?;
        self.framed(first.clone(), Some(second), overlong)
    }

    /// Reads one text without its frame. More of it than the model reads is counted, not kept.
    pub fn part(&self, text: &str, overlong: Overlong) -> Result<Part, TokenizeError> {
        let cased = self.cased(text);
        let mut encoding = self.tokenizer.encode_fast(cased.as_ref(), false)?;
        let tokens = encoding.len();
        cut(&mut encoding, self.limits.tokens, overlong);
        Ok(Part { encoding, tokens })
    }

    /// Cuts what is too long, if that is allowed, and adds the frame.
    fn framed(
        &self,
        mut first: Part,
        mut second: Option<Part>,
        overlong: Overlong,
    ) -> Result<Sequence, TokenizeError> {
        let frame = self.frame(second.is_some());
        let others = second.as_ref().map_or(0, |second| second.tokens);
        let tokens = first.tokens + others + frame;
        if tokens > self.limits.tokens {
            if overlong == Overlong::Refuse {
                return Err(TokenizeError::TooLong {
                    tokens,
                    limit: self.limits.tokens,
                });
            }
            let room = self.limits.tokens.saturating_sub(frame);
            let (first_room, second_room) = shares(first.tokens, others, room);
            cut(&mut first.encoding, first_room, overlong);
            if let Some(second) = &mut second {
                cut(&mut second.encoding, second_room, overlong);
            }
        }
        let second = second.map(|second| second.encoding);
        let framed = self.tokenizer.post_process(first.encoding, second, true)?;
        let kinds = framed.get_type_ids();
        let kinds = match kinds.iter().any(|&kind| kind != 0) {
            true => kinds.to_vec(),
            false => Vec::new(),
        };
        self.checked(Sequence {
            ids: framed.get_ids().to_vec(),
            kinds,
        })
    }

    /// Takes token ids as they are, special ones included.
    pub fn take(&self, ids: Vec<u64>) -> Result<Sequence, TokenizeError> {
        let known = |id: u64| {
            u32::try_from(id).map_err(|_| TokenizeError::UnknownToken {
                id,
                vocabulary: self.limits.vocabulary,
            })
        };
        self.checked(Sequence {
            ids: ids.into_iter().map(known).collect::<Result<_, _>>()?,
            kinds: Vec::new(),
        })
    }

    /// The tokens of a text of any length, one by one.
    pub fn tokens(&self, text: &str, frame: Frame) -> Result<Vec<Token>, TokenizeError> {
        let encoding = self
            .tokenizer
            .encode_char_offsets(self.cased(text).as_ref(), frame == Frame::Special)?;
        let special = encoding.get_special_tokens_mask();
        let parts = encoding.get_ids().iter().zip(encoding.get_tokens());
        let parts = parts.zip(special).zip(encoding.get_offsets());
        Ok(parts
            .map(|(((&id, text), &special), &place)| Token {
                id,
                text: text.clone(),
                special: special == 1,
                place: (special == 0).then_some(place),
            })
            .collect())
    }

    fn cased<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        match self.casing {
            Casing::Keep => text.into(),
            Casing::Lower => text.to_lowercase().into(),
        }
    }

    /// Special tokens around a text or a pair.
    fn frame(&self, pair: bool) -> usize {
        let processor = self.tokenizer.get_post_processor();
        processor.map_or(0, |processor| processor.added_tokens(pair))
    }

    fn checked(&self, sequence: Sequence) -> Result<Sequence, TokenizeError> {
        let unknown = |id: &&u32| **id as usize >= self.limits.vocabulary;
        if let Some(&id) = sequence.ids.iter().find(unknown) {
            return Err(TokenizeError::UnknownToken {
                id: id.into(),
                vocabulary: self.limits.vocabulary,
            });
        }
        match sequence.len() {
            0 => Err(TokenizeError::Empty),
            tokens if tokens > self.limits.tokens => Err(TokenizeError::TooLong {
                tokens,
                limit: self.limits.tokens,
            }),
            _ => Ok(sequence),
        }
    }
}

/// Leaves the first or last `room` tokens, and nothing of the others.
fn cut(encoding: &mut Encoding, room: usize, overlong: Overlong) {
    let direction = match overlong {
        Overlong::CutStart => TruncationDirection::Left,
        Overlong::Refuse | Overlong::CutEnd => TruncationDirection::Right,
    };
    encoding.truncate(room, 0, direction);
    // The library keeps what was cut, and would frame every combination of it.
    drop(encoding.take_overflowing());
}

/// How many tokens of each text of a pair stay, where both have to go into `room`: the longer one
/// is cut first, then both alike ("longest first" of the tokenizers library).
fn shares(first: usize, second: usize, room: usize) -> (usize, usize) {
    let (less, more) = (first.min(second), first.max(second));
    let (less, more) = match less + less > room {
        true => (room / 2, room - room / 2),
        false => (less, more.min(room - less)),
    };
    match first <= second {
        true => (less, more),
        false => (more, less),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_text_of_a_pair_is_cut_first() {
        for (lengths, room, stay) in [
            ((3, 4), 10, (3, 4)),
            ((3, 40), 10, (3, 7)),
            ((40, 3), 10, (7, 3)),
            ((40, 50), 11, (5, 6)),
            ((50, 40), 11, (6, 5)),
            ((40, 0), 10, (10, 0)),
        ] {
            assert_eq!(shares(lengths.0, lengths.1, room), stay, "{lengths:?}");
        }
    }
}
