//! From what clients send to what the model computes: texts are counted, prompted and read into
//! tokens. What cannot be read is refused by the field and the place it stands in.

use std::time::{Duration, Instant};

use super::app::{App, Served};
use super::error::{ApiError, Fault};
use super::inference::Arrived;
use super::input::Entry;
use crate::metrics;
use crate::models::{Overlong, Part, Sequence, Text, TextTokenizer, TokenizeError};

/// A request's texts, read.
#[derive(Debug)]
pub struct Texts {
    pub sequences: Vec<Sequence>,
    /// Characters of the texts, prompts not counted; a token id counts as one.
    pub characters: usize,
    /// How long reading took.
    pub tokenization: Duration,
}

impl Texts {
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(Sequence::len).sum()
    }
}

/// How entries are to be read.
pub struct Manner<'a> {
    /// The field they came in.
    pub field: &'static str,
    /// A prompt's name, where one was asked for.
    pub prompt: Option<&'a str>,
    pub overlong: Overlong,
}

/// Reads the inputs of an embedding model.
pub fn entries(
    app: &App,
    body: &Arrived,
    entries: Vec<Entry>,
    manner: &Manner,
) -> Result<Texts, ApiError> {
    let served = app.served()?;
    let field = manner.field;
    count(field, entries.len(), app.limits.max_texts.get())?;
    let prompt = served.prompt(manner.prompt)?;
    let mut reading = Reading::begin(served, body, field, manner.overlong);
    for entry in entries {
        match entry {
            Entry::Text(text) => reading.text(prompt, &text)?,
            Entry::Ids(_) if manner.prompt.is_some() => {
                let message = format!("A prompt is put before texts; `{field}` has token ids");
                return Err(ApiError::param(Fault::Invalid, "prompt_name", message));
            }
            Entry::Ids(ids) => reading.ids(ids)?,
        }
    }
    Ok(reading.end())
}

/// Whether a list of `found` is neither empty nor longer than `most`.
pub fn count(field: &'static str, found: usize, most: usize) -> Result<(), ApiError> {
    let (fault, message) = match found {
        0 => (
            Fault::Empty,
            format!("`{field}` is an empty list; expected at least one text"),
        ),
        found if found > most => (
            Fault::TooMany,
            format!("`{field}` has {found} texts, at most {most} are taken"),
        ),
        _ => return Ok(()),
    };
    Err(ApiError::param(fault, field, message))
}

/// A text that others are paired with.
pub struct Query {
    part: Part,
    characters: usize,
}

/// Reads one text after the other.
pub struct Reading<'a> {
    tokenizer: &'a TextTokenizer,
    body: &'a Arrived,
    field: &'static str,
    /// Texts of this field so far.
    index: usize,
    overlong: Overlong,
    sequences: Vec<Sequence>,
    characters: usize,
    begun: Instant,
}

impl<'a> Reading<'a> {
    pub fn begin(
        served: &'a Served,
        body: &'a Arrived,
        field: &'static str,
        overlong: Overlong,
    ) -> Reading<'a> {
        Reading {
            tokenizer: &served.tokenizer,
            body,
            field,
            index: 0,
            overlong,
            sequences: Vec::new(),
            characters: 0,
            begun: Instant::now(),
        }
    }

    /// What follows came in another field.
    pub fn field(&mut self, field: &'static str) {
        self.field = field;
        self.index = 0;
    }

    /// A text with a prompt before it.
    pub fn text(&mut self, prompt: &str, text: &str) -> Result<(), ApiError> {
        self.body.awaited()?;
        if text.is_empty() {
            let message = format!("{}[{}] is an empty string", self.field, self.index);
            return Err(ApiError::param(Fault::Empty, self.field, message));
        }
        let prompted;
        let whole = match prompt {
            "" => text,
            prompt => {
                prompted = format!("{prompt}{text}");
                &prompted
            }
        };
        let read = self.tokenizer.encode(Text::One(whole), self.overlong);
        self.put(
            read,
            text.chars().count(),
            "shorten it, or send \"truncate\": true",
        )
    }

    /// Two texts that are judged together; one of them may be empty.
    pub fn pair(&mut self, first: &str, second: &str) -> Result<(), ApiError> {
        self.body.awaited()?;
        if first.is_empty() && second.is_empty() {
            let message = format!("{}[{}] is empty", self.field, self.index);
            return Err(ApiError::param(Fault::Empty, self.field, message));
        }
        let read = self
            .tokenizer
            .encode(Text::Pair(first, second), self.overlong);
        let characters = first.chars().count() + second.chars().count();
        self.put(read, characters, "shorten it, or send \"truncate\": true")
    }

    /// The first text of every pair that follows: it is read once.
    pub fn query(&self, query: &str) -> Result<Query, ApiError> {
        let part = self.tokenizer.part(query, self.overlong).map_err(|error| {
            let message = format!("query: {error}");
            ApiError::param(Fault::Tokenizer, "query", message)
        })?;
        Ok(Query {
            part,
            characters: query.chars().count(),
        })
    }

    /// A document that is judged by how well it answers the query.
    pub fn document(&mut self, query: &Query, document: &str) -> Result<(), ApiError> {
        self.body.awaited()?;
        let read = self
            .tokenizer
            .encode_second(&query.part, document, self.overlong);
        let characters = query.characters + document.chars().count();
        self.put(read, characters, "shorten it, or send \"truncate\": true")
    }

    /// Token ids; they are never cut, for that would take their frame away.
    pub fn ids(&mut self, ids: Vec<u64>) -> Result<(), ApiError> {
        let count = ids.len();
        self.put(self.tokenizer.take(ids), count, "send fewer ids")
    }

    fn put(
        &mut self,
        read: Result<Sequence, TokenizeError>,
        characters: usize,
        remedy: &str,
    ) -> Result<(), ApiError> {
        let sequence = read.map_err(|error| {
            let place = format!("{}[{}]: {error}", self.field, self.index);
            let (fault, message) = match error {
                TokenizeError::TooLong { .. } => (Fault::TooLong, format!("{place}; {remedy}")),
                TokenizeError::Empty => (Fault::Empty, place),
                _ => (Fault::Tokenizer, place),
            };
            ApiError::param(fault, self.field, message)
        })?;
        self.sequences.push(sequence);
        self.characters += characters;
        self.index += 1;
        Ok(())
    }

    pub fn end(self) -> Texts {
        let tokenization = self.begun.elapsed();
        metrics::tokenized(self.sequences.iter().map(Sequence::len), tokenization);
        Texts {
            sequences: self.sequences,
            characters: self.characters,
            tokenization,
        }
    }
}
