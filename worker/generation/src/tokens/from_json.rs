//! A tokenizer from a tokenizer.json of Hugging Face's library.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use serde_json::Value;

use super::vocabulary::{byte_letters, byte_token, from_letters};
use super::{Model, Role, SPACE, Tokenizer, TokenizerError, Vocabulary};

/// What a model's other files say of its tokens, by their texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub begin: Option<String>,
    pub ends: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    decoder: Value,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    #[serde(default)]
    special: bool,
}

impl Tokenizer {
    /// Parses a tokenizer.json. `entries` is the model's vocabulary: no id may reach it.
    pub fn from_json(
        json: &[u8],
        entries: usize,
        named: &Named,
    ) -> Result<Tokenizer, TokenizerError> {
        // The library panics on some files that are damaged.
        let read = catch_unwind(AssertUnwindSafe(|| tokenizers::Tokenizer::from_bytes(json)));
        let read = read.map_err(|_| wrong("the tokenizers library panicked on it"))?;
        let mut tokenizer = read.map_err(|error| wrong(error.to_string()))?;
        tokenizer.with_padding(None);
        let untruncated = tokenizer.with_truncation(None).map(|_| ());
        untruncated.map_err(|error| wrong(error.to_string()))?;
        let file: File = serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))?;
        let vocabulary = vocabulary(&tokenizer, &file, entries)?;
        let id = |text: &String| tokenizer.token_to_id(text);
        let begin = named.begin.as_ref().and_then(id);
        let ends: Vec<_> = named.ends.iter().filter_map(id).collect();
        let framed = tokenizer.encode("a", true);
        let framed = framed.map_err(|error| wrong(error.to_string()))?;
        let first = framed.get_ids().first().copied();
        Ok(Tokenizer {
            begins: begin.is_some() && first == begin,
            model: Model::Library(Box::new(tokenizer)),
            vocabulary,
            begin,
            ends,
        })
    }
}

fn wrong(problem: impl Into<String>) -> TokenizerError {
    TokenizerError::Json(problem.into())
}

fn vocabulary(
    tokenizer: &tokenizers::Tokenizer,
    file: &File,
    entries: usize,
) -> Result<Vocabulary, TokenizerError> {
    let mut tokens: Vec<Option<String>> = vec![None; entries];
    for (text, id) in tokenizer.get_vocab(true) {
        match tokens.get_mut(id as usize) {
            Some(token) => *token = Some(text),
            None => {
                let problem = format!("token id {id}, where the model has {entries} tokens");
                return Err(wrong(problem));
            }
        }
    }
    let mut roles = vec![Role::Text; entries];
    for added in &file.added_tokens {
        if let Some(role) = roles.get_mut(added.id as usize) {
            *role = if added.special {
                Role::Control
            } else {
                Role::Added
            };
        }
    }
    // Both kinds of files say it in their decoder: ByteLevel, or a Replace of the space's letter.
    let letters = file
        .decoder
        .to_string()
        .contains("ByteLevel")
        .then(byte_letters);
    let mut vocabulary = Vocabulary::default();
    let mut bytes = Vec::new();
    for (token, role) in tokens.iter().zip(roles) {
        bytes.clear();
        let Some(token) = token else {
            vocabulary.push(&[], Role::Unused);
            continue;
        };
        let byte = byte_token(token).filter(|_| letters.is_none() && role == Role::Text);
        match (role, byte, &letters) {
            (Role::Text, Some(byte), _) => bytes.push(byte),
            (Role::Text, None, Some(letters)) => from_letters(token, letters, &mut bytes),
            (Role::Text, None, None) => bytes.extend(token.replace(SPACE, " ").bytes()),
            _ => bytes.extend(token.bytes()),
        }
        vocabulary.push(&bytes, role);
    }
    Ok(vocabulary)
}
