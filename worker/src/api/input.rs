//! What clients send to be computed: a text, texts, or token ids.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

/// One thing to compute.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    Text(String),
    /// Taken as they are, special tokens included.
    Ids(Vec<u64>),
}

/// A string or a list of token ids is one entry; a list of strings or of lists is several.
#[derive(Debug, PartialEq, Eq)]
pub struct Inputs(pub Vec<Entry>);

const EXPECTED: &str = "a string, a list of strings, a list of token ids, or a list of such lists";

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(InputsVisitor)
    }
}

struct InputsVisitor;

impl<'de> Visitor<'de> for InputsVisitor {
    type Value = Inputs;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Inputs, E> {
        Ok(Inputs(vec![Entry::Text(text.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Inputs, A::Error> {
        let mut entries = Vec::new();
        let mut ids = Vec::new();
        while let Some(item) = items.next_element::<Item>()? {
            match item {
                Item::Entry(entry) => entries.push(entry),
                Item::Id(id) => ids.push(id),
            }
        }
        match (entries.is_empty(), ids.is_empty()) {
            (false, false) => Err(de::Error::custom("token ids are mixed with texts or lists")),
            (true, false) => Ok(Inputs(vec![Entry::Ids(ids)])),
            (_, true) => Ok(Inputs(entries)),
        }
    }
}

/// One item of a list.
enum Item {
    Entry(Entry),
    Id(u64),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Item, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Item, E> {
        Ok(Item::Entry(Entry::Text(text)))
    }

    fn visit_u64<E: de::Error>(self, id: u64) -> Result<Item, E> {
        Ok(Item::Id(id))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Item, A::Error> {
        let mut ids = Vec::new();
        while let Some(id) = items.next_element()? {
            ids.push(id);
        }
        Ok(Item::Entry(Entry::Ids(ids)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_token_ids_are_told_apart() {
        let text = |text: &str| Entry::Text(text.to_owned());
        for (json, entries) in [
            (r#""a""#, vec![text("a")]),
            (r#"["a", "b"]"#, vec![text("a"), text("b")]),
            ("[1, 2]", vec![Entry::Ids(vec![1, 2])]),
            (
                "[[1, 2], [3]]",
                vec![Entry::Ids(vec![1, 2]), Entry::Ids(vec![3])],
            ),
            (r#"["a", [1]]"#, vec![text("a"), Entry::Ids(vec![1])]),
            ("[]", vec![]),
        ] {
            let read: Inputs = serde_json::from_str(json).expect(json);
            assert_eq!(read, Inputs(entries), "{json}");
        }
        for (json, says) in [
            ("7", "a string, a list of strings"),
            ("[-1]", "integer `-1`"),
            (r#"[1, "a"]"#, "mixed with texts"),
            (r#"[["a"]]"#, "u64"),
        ] {
            let mistake = serde_json::from_str::<Inputs>(json).expect_err(json);
            assert!(mistake.to_string().contains(says), "{json}: {mistake}");
        }
    }
}
