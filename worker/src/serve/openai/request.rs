//! What a client asks for: the JSON body, and whether it can be served.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use crate::model::Overlong;
use crate::serve::error::ApiError;

/// The body of `POST /v1/embeddings`.
#[derive(Debug, Deserialize)]
struct Request {
    model: Option<String>,
    input: Input,
    encoding_format: Option<Format>,
    dimensions: Option<serde_json::Value>,
    truncate: Option<bool>,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Float,
    /// Of little-endian f32.
    Base64,
}

/// What `input` holds; token ids are known to be that, so that they are refused by name.
#[derive(Debug)]
enum Input {
    Texts(Vec<String>),
    TokenIds,
}

/// A request that can be served.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// At least one, none of them empty.
    pub texts: Vec<String>,
    pub overlong: Overlong,
    pub format: Format,
}

/// Reads a body as a request to the model `served`.
pub fn parse(body: &[u8], served: &str, max_texts: usize) -> Result<Wanted, ApiError> {
    let request: Request = serde_json::from_slice(body).map_err(|error| {
        ApiError::malformed(format!("The body is not a valid request: {error}"))
    })?;
    if let Some(asked) = request.model.filter(|asked| asked != served) {
        return Err(ApiError::model_not_found(&asked, served));
    }
    if request.dimensions.is_some_and(|value| !value.is_null()) {
        let message = "This model's vectors cannot be shortened; leave `dimensions` out";
        return Err(ApiError::param("dimensions", message));
    }
    Ok(Wanted {
        texts: request.input.texts(max_texts)?,
        overlong: match request.truncate {
            Some(true) => Overlong::Truncate,
            _ => Overlong::Refuse,
        },
        format: request.encoding_format.unwrap_or_default(),
    })
}

impl Input {
    fn texts(self, most: usize) -> Result<Vec<String>, ApiError> {
        let refused = |message: String| Err(ApiError::param("input", message));
        let Input::Texts(texts) = self else {
            return refused("Token ids are not taken; send `input` as text".to_owned());
        };
        if texts.is_empty() {
            return refused("`input` is an empty list; expected at least one text".to_owned());
        }
        if texts.len() > most {
            return refused(format!(
                "`input` has {} texts, at most {most} are taken",
                texts.len()
            ));
        }
        match texts.iter().position(String::is_empty) {
            Some(index) => refused(format!("input[{index}] is an empty string")),
            None => Ok(texts),
        }
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = Input;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("`input` as a string or a list of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Input, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Input, E> {
        Ok(Input::Texts(vec![text]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Input, A::Error> {
        let mut texts = Vec::new();
        let mut token_ids = false;
        while let Some(entry) = items.next_element::<Entry>()? {
            match entry {
                Entry::Text(text) => texts.push(text),
                Entry::TokenIds => token_ids = true,
            }
        }
        Ok(if token_ids {
            Input::TokenIds
        } else {
            Input::Texts(texts)
        })
    }
}

/// One entry of a list: a text, a token id, or a list of those.
enum Entry {
    Text(String),
    TokenIds,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("`input` as a string or a list of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
        Ok(Entry::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Entry, E> {
        Ok(Entry::Text(text))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Entry, E> {
        Ok(Entry::TokenIds)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut ids: A) -> Result<Entry, A::Error> {
        while ids.next_element::<u64>()?.is_some() {}
        Ok(Entry::TokenIds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<Wanted, String> {
        parse(json.as_bytes(), "tiny", 3).map_err(|error| format!("{error:?}"))
    }

    fn texts(json: &str) -> Vec<String> {
        parsed(json).expect(json).texts
    }

    #[test]
    fn a_text_and_a_list_of_texts_are_taken_and_unknown_fields_ignored() {
        assert_eq!(
            texts(r#"{"input": "a", "user": "u", "dimensions": null, "encoding_format": null}"#),
            ["a"]
        );
        let whole = r#"{"input": ["a", "b"], "model": "tiny", "encoding_format": "base64", "truncate": true}"#;
        let wanted = parsed(whole).expect(whole);
        assert_eq!(wanted.texts, ["a", "b"]);
        assert_eq!(
            (wanted.overlong, wanted.format),
            (Overlong::Truncate, Format::Base64)
        );
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_the_field_it_is_in() {
        for (json, names) in [
            (r#"{"input": []}"#, "empty list"),
            (r#"{"input": ["a", ""]}"#, "input[1] is an empty string"),
            (r#"{"input": ["a", "b", "c", "d"]}"#, "4 texts"),
            (r#"{"input": [1, 2]}"#, "Token ids"),
            (r#"{"input": [[1, 2], [3]]}"#, "Token ids"),
            (r#"{"input": 7}"#, "a string or a list of strings"),
            (r#"{"input": "a", "model": "other"}"#, "model_not_found"),
            (r#"{"input": "a", "dimensions": 64}"#, "dimensions"),
            (r#"{"input": "a", "encoding_format": "hex"}"#, "hex"),
            (r#"{"model": "tiny"}"#, "missing field `input`"),
        ] {
            let refusal = parsed(json).expect_err(json);
            assert!(refusal.contains(names), "{json}: {refusal}");
        }
    }
}
