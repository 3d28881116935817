//! A tokenizer from the metadata of a GGUF file.

use std::borrow::Cow;

use ahash::AHashMap;
use aho_corasick::{AhoCorasick, MatchKind};
use tidegate_gguf::{Gguf, Strings, Value};
use tokenizers::AddedToken;
use tokenizers::models::bpe::BPE;

use super::spm::Spm;
use super::vocabulary::{byte_letters, byte_token, from_letters};
use super::{Model, Role, SPACE, Tokenizer, TokenizerError, Vocabulary, pieces};

/// The key under which files may hold a whole tokenizer.json.
pub const JSON_KEY: &str = "tokenizer.huggingface.json";

/// Control tokens that end an answer in the chat formats known; files name one of them at most.
const ENDS: [&str; 7] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "</s>",
];

impl Tokenizer {
    /// Reads the `tokenizer.*` attributes.
    pub fn from_gguf(gguf: &Gguf) -> Result<Tokenizer, TokenizerError> {
        let file = File { gguf };
        let tokens = file.strings("tokenizer.ggml.tokens")?;
        let roles = file.roles(tokens.len())?;
        let kind = file.text("tokenizer.ggml.model")?;
        let (vocabulary, model, begins) = match kind {
            "gpt2" => file.bpe(tokens, &roles)?,
            "llama" | "gemma" => file.spm(tokens, &roles)?,
            other => {
                let problem = format!("{other:?} is not supported; gpt2 and llama are");
                return Err(invalid("tokenizer.ggml.model", problem));
            }
        };
        let begin = file.token("bos_token_id", tokens.len())?;
        let mut ends: Vec<u32> = Vec::new();
        for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            ends.extend(file.token(key, tokens.len())?);
        }
        for (id, token) in tokens.iter().enumerate() {
            if roles[id] == Role::Control && ENDS.contains(&token) {
                ends.push(id as u32);
            }
        }
        ends.sort_unstable();
        ends.dedup();
        let begins = match gguf.attribute("tokenizer.ggml.add_bos_token") {
            Some(stated) => stated.as_bool().unwrap_or(begins),
            None => begins,
        };
        Ok(Tokenizer {
            vocabulary,
            model,
            begin,
            begins,
            ends,
        })
    }
}

fn invalid(key: &str, problem: impl Into<String>) -> TokenizerError {
    TokenizerError::Attribute {
        key: key.to_owned(),
        problem: problem.into(),
    }
}

struct File<'a> {
    gguf: &'a Gguf,
}

type Parts = (Vocabulary, Model, bool);

impl<'a> File<'a> {
    fn attribute(&self, key: &'static str) -> Result<&'a Value, TokenizerError> {
        self.gguf.attribute(key).ok_or(TokenizerError::Missing(key))
    }

    fn text(&self, key: &'static str) -> Result<&'a str, TokenizerError> {
        let value = self.attribute(key)?;
        let text = value.as_str();
        text.ok_or_else(|| {
            invalid(
                key,
                format!("{} where a string was expected", value.describe()),
            )
        })
    }

    fn strings(&self, key: &'static str) -> Result<&'a Strings, TokenizerError> {
        let value = self.attribute(key)?;
        let strings = value.as_strings();
        strings.ok_or_else(|| {
            let found = value.describe();
            invalid(
                key,
                format!("{found} where an array of strings was expected"),
            )
        })
    }

    fn roles(&self, tokens: usize) -> Result<Vec<Role>, TokenizerError> {
        const KEY: &str = "tokenizer.ggml.token_type";
        let Some(value) = self.gguf.attribute(KEY) else {
            return Ok(vec![Role::Text; tokens]);
        };
        let roles: Vec<_> = (value.as_numbers().iter())
            .flat_map(|numbers| numbers.iter())
            .map(|number| Role::from_gguf(number.as_u64().unwrap_or(0)))
            .collect();
        match roles.len() == tokens {
            true => Ok(roles),
            false => Err(invalid(KEY, format!("{} for {tokens} tokens", roles.len()))),
        }
    }

    fn scores(&self, tokens: usize) -> Result<Vec<f32>, TokenizerError> {
        const KEY: &str = "tokenizer.ggml.scores";
        let value = self.attribute(KEY)?;
        let scores: Vec<_> = (value.as_numbers().iter())
            .flat_map(|numbers| numbers.iter())
            .map(|number| number.as_f64().unwrap_or(0.0) as f32)
            .collect();
        match scores.len() == tokens {
            true => Ok(scores),
            false => Err(invalid(
                KEY,
                format!("{} for {tokens} tokens", scores.len()),
            )),
        }
    }

    fn token(&self, name: &str, tokens: usize) -> Result<Option<u32>, TokenizerError> {
        let key = format!("tokenizer.ggml.{name}");
        let Some(value) = self.gguf.attribute(&key) else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(id) if (id as usize) < tokens => Ok(Some(id as u32)),
            _ => Err(invalid(&key, format!("it is none of {tokens} tokens"))),
        }
    }

    fn flag(&self, key: &str, otherwise: bool) -> bool {
        let value = self.gguf.attribute(key);
        value.and_then(Value::as_bool).unwrap_or(otherwise)
    }

    /// Phi-3's tokens of turns take the white space behind them. Files do not say so; llama.cpp goes
    /// by the name as well.
    fn is_phi3(&self) -> bool {
        let name = self.gguf.attribute("general.name").and_then(Value::as_str);
        let name = name.unwrap_or_default().to_ascii_lowercase();
        name.contains("phi-3") || name.contains("phi 3") || name == "phi3"
    }

    fn bpe(&self, tokens: &Strings, roles: &[Role]) -> Result<Parts, TokenizerError> {
        const PRE: &str = "tokenizer.ggml.pre";
        const MERGES: &str = "tokenizer.ggml.merges";
        let pre = match self.gguf.attribute(PRE) {
            Some(_) => self.text(PRE)?,
            None => "default",
        };
        let cut = pieces::cut(pre).map_err(|error| invalid(PRE, error.to_string()))?;
        let cut = cut.ok_or_else(|| {
            invalid(
                PRE,
                format!("{pre:?} is not known; these are: {}", pieces::KNOWN),
            )
        })?;
        let mut ids = AHashMap::new();
        for (id, token) in tokens.iter().enumerate() {
            ids.insert(token.to_owned(), id as u32);
        }
        let mut merges = Vec::new();
        for (index, merge) in self.strings(MERGES)?.iter().enumerate() {
            match merge.split_once(' ') {
                Some((left, right)) => merges.push((left.to_owned(), right.to_owned())),
                None => {
                    let problem = format!("merge {index} is {merge:?}; expected two tokens");
                    return Err(invalid(MERGES, problem));
                }
            }
        }
        let bpe = BPE::builder().vocab_and_merges(ids, merges);
        let bpe = bpe.ignore_merges(cut.whole_pieces).build();
        let bpe = bpe.map_err(|error| invalid(MERGES, error.to_string()))?;
        let mut tokenizer = tokenizers::Tokenizer::new(bpe);
        tokenizer.with_pre_tokenizer(Some(cut.pieces));
        add(&mut tokenizer, tokens, roles)?;

        let letters = byte_letters();
        let mut vocabulary = Vocabulary::default();
        let mut bytes = Vec::new();
        for (token, &role) in tokens.iter().zip(roles) {
            bytes.clear();
            match role {
                Role::Text | Role::Byte => from_letters(token, &letters, &mut bytes),
                Role::Control | Role::Added | Role::Unused => bytes.extend(token.as_bytes()),
            }
            vocabulary.push(&bytes, role);
        }
        Ok((vocabulary, Model::Library(Box::new(tokenizer)), cut.begins))
    }

    fn spm(&self, tokens: &Strings, roles: &[Role]) -> Result<Parts, TokenizerError> {
        let scores = self.scores(tokens.len())?;
        let unknown = self.token("unknown_token_id", tokens.len())?;
        let mut spm = Spm::default();
        let mut vocabulary = Vocabulary::default();
        let mut added = Vec::new();
        let mut ids = Vec::new();
        for (index, (token, &role)) in tokens.iter().zip(roles).enumerate() {
            let id = index as u32;
            let byte = byte_token(token).filter(|_| role == Role::Byte);
            match role {
                Role::Byte => byte.into_iter().for_each(|byte| spm.byte(byte, id)),
                Role::Text => spm.piece(token, id, scores[index]),
                Role::Control | Role::Added if !token.is_empty() => {
                    added.push(token);
                    ids.push(id);
                }
                Role::Control | Role::Added | Role::Unused => {}
            }
            let text: Cow<[u8]> = match (role, &byte) {
                (Role::Byte, Some(byte)) => Cow::Borrowed(std::slice::from_ref(byte)),
                (Role::Text, _) => Cow::Owned(token.replace(SPACE, " ").into_bytes()),
                _ => Cow::Borrowed(token.as_bytes()),
            };
            vocabulary.push(&text, role);
        }
        if let Some(unknown) = unknown {
            spm.unknown(unknown);
        }
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&added)
            .map_err(|error| invalid("tokenizer.ggml.tokens", error.to_string()))?;
        let model = Model::Scores {
            spm,
            added: (!added.is_empty()).then_some(finder),
            ids,
            space_first: self.flag("tokenizer.ggml.add_space_prefix", true),
            strip_after_control: self.is_phi3(),
        };
        Ok((vocabulary, model, true))
    }
}

/// Tokens that are found before a text is cut.
fn add(
    tokenizer: &mut tokenizers::Tokenizer,
    tokens: &Strings,
    roles: &[Role],
) -> Result<(), TokenizerError> {
    let of = |wanted: Role| {
        let each = tokens.iter().zip(roles);
        let of = each.filter(move |(token, role)| **role == wanted && !token.is_empty());
        of.map(move |(token, _)| AddedToken::from(token, wanted == Role::Control).normalized(false))
    };
    let add = tokenizer
        .add_special_tokens(of(Role::Control).collect::<Vec<_>>())
        .and_then(|_| tokenizer.add_tokens(of(Role::Added).collect::<Vec<_>>()));
    add.map_err(|error| invalid("tokenizer.ggml.tokens", error.to_string()))?;
    Ok(())
}
