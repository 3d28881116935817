//! From text to token ids, and the one place that knows how long a text may be.
//!
//! A text of any length is read in pieces, and no further than the model reads: the library holds
//! hundreds of bytes for each byte of a text that it is given.

mod bounds;
mod pieces;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use thiserror::Error;
use tokenizers::{
    Encoding, ModelWrapper, PostProcessor, PreTokenizerWrapper, Tokenizer, TruncationDirection,
};

use self::pieces::{From as Side, Pieces, Words};
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
    /// Tokens that were read: all of the text's, or more than the model reads.
    tokens: usize,
    /// Whether the text goes on.
    more: bool,
}

/// Bytes of a piece for each token that the model reads: about twice what prose has, so that one
/// piece of a long text is mostly enough.
const PIECE_BYTES_PER_TOKEN: usize = 8;

const PIECE_BYTES: std::ops::RangeInclusive<usize> = 2 << 10..=16 << 10;

/// What the library holds for each byte of a piece, measured on a piece of dots.
const HELD_PER_BYTE: u64 = 450;

/// A text in pieces of so many bytes, from its beginning, cut where words end if they do.
pub fn leading_pieces(text: &str, bytes: usize) -> impl Iterator<Item = &str> {
    Pieces::new(text, Side::Start, bytes, Words::Any)
}

/// Bytes of a piece for a model that reads so many tokens.
fn piece_bytes(tokens: usize) -> usize {
    let bytes = tokens.saturating_mul(PIECE_BYTES_PER_TOKEN);
    bytes.clamp(*PIECE_BYTES.start(), *PIECE_BYTES.end())
}

/// Memory that reading a text takes beside the text and what was read of it, for a model that reads
/// so many tokens.
pub fn reading_bytes(tokens: usize) -> u64 {
    HELD_PER_BYTE * piece_bytes(tokens) as u64
}

pub struct TextTokenizer {
    tokenizer: Tokenizer,
    limits: Limits,
    casing: Casing,
    words: Words,
    /// Bytes of a piece.
    piece: usize,
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
    /// Whether the model judges pairs and nothing else.
    pub pairs_alone: bool,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum TokenizeError {
    #[error("the text has {}{tokens} tokens, the model reads at most {limit}", if *.more { "at least " } else { "" })]
    TooLong {
        tokens: usize,
        /// Whether there are more than were counted.
        more: bool,
        limit: usize,
    },
    #[error("it has more than {most} tokens, the most that are listed")]
    TooMany { most: usize },
    #[error("the text has no tokens")]
    Empty,
    #[error("token id {id} does not exist, the model has {vocabulary}")]
    UnknownToken { id: u64, vocabulary: usize },
    #[error("the text cannot be tokenized: {0}")]
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
        bounds::check(json)?;
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
        // The frame of a text and that of a pair are tried here, not on a request. Kinds come from
        // the frame alone, so that one text and one pair show all there are.
        let kinds = |read: tokenizers::Result<Encoding>| {
            let read = read.map_err(|error| error.to_string())?;
            Ok::<_, String>(read.get_type_ids().iter().copied().max().unwrap_or(0))
        };
        let of_one = kinds(tokenizer.encode("a", true))?;
        let of_pair = kinds(tokenizer.encode(("a", "b"), true))?;
        let kind = match limits.pairs_alone {
            true => of_pair,
            false => of_one,
        };
        if kind as usize >= limits.kinds {
            return Err(format!(
                "it gives tokens the type id {kind}, config.json has a type_vocab_size of {}",
                limits.kinds
            ));
        }
        Ok(TextTokenizer {
            words: words(&tokenizer),
            piece: piece_bytes(limits.tokens),
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

    /// Reads one text without its frame, and no more of it than is needed to know that it is too
    /// long.
    pub fn part(&self, text: &str, overlong: Overlong) -> Result<Part, TokenizeError> {
        let side = match overlong {
            Overlong::CutStart => Side::End,
            Overlong::Refuse | Overlong::CutEnd => Side::Start,
        };
        let mut pieces = Pieces::new(text, side, self.piece, self.words);
        let mut read = Vec::new();
        let mut tokens = 0;
        for piece in pieces.by_ref() {
            let mut encoding = self.tokenizer.encode_fast(self.cased(piece), false)?;
            unmark(&mut encoding, piece, text);
            let kept = tokens;
            tokens += encoding.len();
            cut(
                &mut encoding,
                self.limits.tokens.saturating_sub(kept),
                overlong,
            );
            read.push(encoding);
            if tokens > self.limits.tokens {
                break;
            }
        }
        if side == Side::End {
            read.reverse();
        }
        let encoding = match read.len() {
            1 => read.swap_remove(0),
            _ => {
                let mut all = Encoding::merge(read, false);
                all.set_sequence_id(0);
                all
            }
        };
        Ok(Part {
            encoding,
            tokens,
            more: !pieces.is_empty(),
        })
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
                let more = first.more || second.as_ref().is_some_and(|second| second.more);
                return Err(TokenizeError::TooLong {
                    tokens,
                    more,
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
        if kinds.iter().any(|&kind| kind as usize >= self.limits.kinds) {
            let problem = "the model reads single texts only, it has no kind for a second text";
            return Err(TokenizeError::Failed(problem.to_owned()));
        }
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

    /// The text of tokens, without those that are special.
    pub fn text(&self, ids: &[u32]) -> Result<String, TokenizeError> {
        Ok(self.tokenizer.decode(ids, true)?)
    }

    /// The tokens of a text one by one, if there are at most `most` and their frame.
    pub fn tokens(
        &self,
        text: &str,
        frame: Frame,
        most: usize,
    ) -> Result<Vec<Token>, TokenizeError> {
        let mut tokens = Vec::new();
        // Of the text up to the piece that was read last.
        let (mut bytes, mut characters) = (0, 0);
        for piece in Pieces::new(text, Side::Start, self.piece, self.words) {
            let begin = place(piece, text);
            characters += text[bytes..begin].chars().count();
            bytes = begin;
            let mut encoding = self
                .tokenizer
                .encode_char_offsets(self.cased(piece), false)?;
            unmark(&mut encoding, piece, text);
            tokens.extend(described(&encoding, characters));
            if tokens.len() > most {
                return Err(TokenizeError::TooMany { most });
            }
        }
        if frame == Frame::Special {
            let one = Encoding::new(
                vec![0],
                vec![0],
                vec![String::new()],
                vec![None],
                vec![(0, 0)],
                vec![0],
                vec![1],
                Vec::new(),
                Default::default(),
            );
            let framed = self.tokenizer.post_process(one, None, true)?;
            let mut begin: Vec<_> = described(&framed, 0).collect();
            let inner = begin.iter().position(|token| !token.special);
            let end = begin.split_off(inner.map_or(begin.len(), |inner| inner + 1));
            if inner.is_some() {
                begin.pop();
            }
            begin.append(&mut tokens);
            begin.extend(end);
            tokens = begin;
        }
        Ok(tokens)
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
                more: false,
                limit: self.limits.tokens,
            }),
            _ => Ok(sequence),
        }
    }
}

/// What the tokenizer makes of a word without an end.
fn words(tokenizer: &Tokenizer) -> Words {
    let isolates = matches!(
        tokenizer.get_pre_tokenizer(),
        Some(PreTokenizerWrapper::BertPreTokenizer(_))
    );
    match tokenizer.get_model() {
        ModelWrapper::WordPiece(model) if isolates => {
            Words::UnknownBeyond(model.max_input_chars_per_word)
        }
        _ => Words::Any,
    }
}

/// Where a piece of a text begins, in bytes.
fn place(piece: &str, text: &str) -> usize {
    piece.as_ptr().addr() - text.as_ptr().addr()
}

/// Drops the mark of a word's beginning that SentencePiece's tokenizers put before every text, where
/// the text is a piece that begins within a word.
fn unmark(encoding: &mut Encoding, piece: &str, text: &str) {
    let within_word = place(piece, text) > 0 && !piece.starts_with(char::is_whitespace);
    let is_marked = encoding
        .get_tokens()
        .first()
        .is_some_and(|token| token == "▁");
    if within_word && is_marked {
        cut(encoding, encoding.len() - 1, Overlong::CutStart);
    }
}

/// The tokens of an encoding, with `before` characters of the text before it.
fn described(encoding: &Encoding, before: usize) -> impl Iterator<Item = Token> {
    let special = encoding.get_special_tokens_mask();
    let parts = encoding.get_ids().iter().zip(encoding.get_tokens());
    let parts = parts.zip(special).zip(encoding.get_offsets());
    parts.map(move |(((&id, text), &special), &(start, end))| Token {
        id,
        text: text.clone(),
        special: special == 1,
        place: (special == 0).then_some((before + start, before + end)),
    })
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

    /// A tokenizer of tests/fixtures/families that reads up to `tokens` tokens, in pieces of `piece`
    /// bytes.
    fn tokenizer(family: &str, tokens: usize, piece: usize) -> TextTokenizer {
        let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/families");
        let file = families.join(family).join("tokenizer.json");
        let json = std::fs::read(&file).expect("a fixture");
        let limits = Limits {
            tokens,
            vocabulary: usize::MAX,
            kinds: 2,
            pairs_alone: false,
        };
        let mut tokenizer =
            TextTokenizer::parse(&json, &file, limits, Casing::Keep).expect("it is valid");
        tokenizer.piece = piece;
        tokenizer
    }

    const FAMILIES: [&str; 6] = [
        "bert",
        "roberta",
        "xlm-roberta",
        "distilbert",
        "mpnet",
        "modernbert",
    ];

    const PROSE: &str = "The cat, which sat on the mat (in 2023!), said: \"don't\"...  twice.\n\nThen\ttwo dogs \
        came; naïve façade — 12,345.67 words of it. ";

    #[test]
    fn a_text_in_pieces_has_the_tokens_of_the_whole() {
        let text = PROSE.repeat(40);
        for family in FAMILIES {
            let whole = tokenizer(family, 100_000, usize::MAX);
            for overlong in [Overlong::CutEnd, Overlong::CutStart] {
                let expected = whole.part(&text, overlong).expect("it is read");
                for piece in [16, 64, 1000] {
                    let pieces = tokenizer(family, 100_000, piece);
                    let read = pieces.part(&text, overlong).expect("it is read");
                    let ids = |part: &Part| part.encoding.get_ids().to_vec();
                    assert_eq!(ids(&read), ids(&expected), "{family}, {piece} bytes");
                    let tokens = |tokenizer: &TextTokenizer| {
                        let tokens = tokenizer.tokens(&text, Frame::Special, usize::MAX);
                        tokens.expect("they are listed")
                    };
                    assert_eq!(tokens(&pieces), tokens(&whole), "{family}, {piece} bytes");
                }
            }
        }
    }

    #[test]
    fn a_text_is_read_no_further_than_the_model_reads() {
        let texts = [
            PROSE.repeat(10_000),
            ".".repeat(1_000_000),
            "7".repeat(1_000_000),
            "漢字".repeat(200_000),
        ];
        for family in FAMILIES {
            let tokenizer = tokenizer(family, 64, 2048);
            for text in &texts {
                // A run of what XLM-R's fixture does not know is one unknown token when it is read
                // whole, and one a piece otherwise.
                if family == "xlm-roberta" && text.starts_with('漢') {
                    continue;
                }
                let begin = &text[..text.floor_char_boundary(2000)];
                let cut = |text: &str| {
                    let read = tokenizer.encode(Text::One(text), Overlong::CutEnd);
                    read.expect("it is cut")
                };
                assert_eq!(cut(text), cut(begin), "{family}");
                // For WordPiece a number without an end is one unknown token.
                if text.starts_with('7') && tokenizer.words != Words::Any {
                    continue;
                }
                let refused = tokenizer.encode(Text::One(text), Overlong::Refuse);
                let Err(TokenizeError::TooLong { tokens, more, .. }) = refused else {
                    panic!("{family}: {refused:?}");
                };
                assert!(more && tokens < 5000, "{family}: {tokens} tokens are read");
            }
        }
    }

    #[test]
    fn a_piece_within_a_word_is_not_marked_as_a_words_beginning() {
        let text = "tidegate".repeat(50);
        let read = tokenizer("xlm-roberta", 1000, 16).part(&text, Overlong::CutEnd);
        let read = read.expect("it is read");
        let marks = read.encoding.get_tokens().iter().skip(1);
        assert_eq!(marks.filter(|token| *token == "▁").count(), 0);
    }

    #[test]
    fn a_word_without_an_end_is_one_unknown_token_for_wordpiece() {
        let text = format!("a {} b", "x".repeat(100_000));
        let read = tokenizer("bert", 64, 2048).encode(Text::One(&text), Overlong::Refuse);
        assert_eq!(read.expect("it fits").len(), 5);
    }
}
