//! How byte-level BPE cuts a text before it joins letters: by `tokenizer.ggml.pre`.
//!
//! The expressions are those of the models' own tokenizer.json files.

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

/// Llama 3: words with one mark before them, up to three digits.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Qwen 2 and 3: the same with single digits.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Mistral's Tekken: cut where the case changes.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// For messages.
pub(crate) const KNOWN: &str =
    "default, gpt-2, llama-bpe, smollm, starcoder, qwen2, tekken, dbrx, smaug-bpe";

/// What is special about a model's byte-level BPE.
pub(crate) struct Cut {
    pub pieces: PreTokenizerWrapper,
    /// A piece that is a token is that token, whatever joins would make of it.
    pub whole_pieces: bool,
    /// A text begins with the token of the beginning, unless the file says otherwise.
    pub begins: bool,
}

/// None for a name that is not known.
pub(crate) fn cut(name: &str) -> Result<Option<Cut>, tokenizers::Error> {
    let bytes = |regex| ByteLevel::new(false, false, regex).into();
    let by = |expression: &str| -> Result<PreTokenizerWrapper, tokenizers::Error> {
        let pattern = SplitPattern::Regex(expression.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
        Ok(Sequence::new(vec![split.into(), bytes(false)]).into())
    };
    let digits = || Sequence::new(vec![Digits::new(true).into(), bytes(true)]).into();
    let plain = |pieces| Cut {
        pieces,
        whole_pieces: false,
        begins: false,
    };
    Ok(Some(match name {
        "default" | "gpt-2" | "phi-2" | "gigachat" => plain(bytes(true)),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" => plain(digits()),
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" => Cut {
            pieces: by(LLAMA3)?,
            whole_pieces: true,
            begins: true,
        },
        "dbrx" | "smaug-bpe" => plain(by(LLAMA3)?),
        "qwen2" | "deepseek-r1-qwen" | "qwen35" | "megrez" => plain(by(QWEN2)?),
        "tekken" => Cut {
            pieces: by(TEKKEN)?,
            whole_pieces: true,
            begins: true,
        },
        _ => return Ok(None),
    }))
}
