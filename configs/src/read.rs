//! Reads a TOML tree into typed values, keeping the key path and the place of every mistake.
//!
//! The toml crate's own deserializer reports most mistakes as text. This one is driven by serde
//! over the same parsed tree and keeps them as facts, so that messages need no guessing.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::check::{Problem, Step, path_text};
use crate::error::{ConfigError, Mistake, nearest};

/// A parsed file, not yet typed.
pub(crate) struct Document<'i> {
    file: PathBuf,
    text: &'i str,
    root: Spanned<DeValue<'i>>,
}

impl<'i> Document<'i> {
    pub(crate) fn parse(text: &'i str, file: &Path) -> Result<Self, ConfigError> {
        let table = DeTable::parse(text).map_err(|error| {
            let place = error.span().unwrap_or(0..0);
            ConfigError::Syntax {
                file: file.to_owned(),
                line: line_of(text, &place),
                near: text.get(place).unwrap_or_default().trim().to_owned(),
                message: error.message().to_owned(),
            }
        })?;
        Ok(Document {
            file: file.to_owned(),
            text,
            root: Spanned::new(table.span(), DeValue::Table(table.into_inner())),
        })
    }

    pub(crate) fn deserialize<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        T::deserialize(Reader(&self.root)).map_err(|mut fault| {
            fault.path.reverse();
            let place = fault.place.unwrap_or(0..0);
            self.error(&fault.path, &place, fault.mistake)
        })
    }

    /// The error for a problem that was found after typing, at the line of its key or, where that
    /// key was left out, of the innermost table around it.
    pub(crate) fn problem(&self, problem: Problem) -> ConfigError {
        let mut place = self.root.span();
        let mut value = self.root.get_ref();
        for step in &problem.path {
            let (step_place, inner) = match (step, value) {
                (Step::Key(key), DeValue::Table(table)) => match table.get_key_value(&**key) {
                    Some((key, inner)) => (key.span(), inner),
                    None => break,
                },
                (Step::Item(index), DeValue::Array(items)) => match items.get(*index) {
                    Some(inner) => (inner.span(), inner),
                    None => break,
                },
                _ => break,
            };
            place = step_place;
            value = inner.get_ref();
        }
        let (found, expected) = (problem.found, problem.expected);
        self.error(&problem.path, &place, Mistake::Wrong { found, expected })
    }

    fn error(&self, path: &[Step], place: &Range<usize>, mistake: Mistake) -> ConfigError {
        ConfigError::Key {
            file: self.file.clone(),
            line: line_of(self.text, place),
            key: path_text(path),
            mistake,
        }
    }
}

fn line_of(text: &str, place: &Range<usize>) -> usize {
    let before = text.as_bytes().iter().take(place.start);
    1 + before.filter(|byte| **byte == b'\n').count()
}

/// A mistake on its way up from where it was made; the path grows from its far end.
#[derive(Debug)]
struct Fault {
    mistake: Mistake,
    path: Vec<Step>,
    place: Option<Range<usize>>,
}

impl Fault {
    fn new(mistake: Mistake) -> Fault {
        Fault {
            mistake,
            path: Vec::new(),
            place: None,
        }
    }

    fn wrong(found: Unexpected<'_>, expected: impl fmt::Display) -> Fault {
        Fault::new(Mistake::Wrong {
            found: found_text(found),
            expected: expected.to_string(),
        })
    }

    fn under(mut self, step: Step) -> Fault {
        self.path.push(step);
        self
    }

    fn at(mut self, place: Range<usize>) -> Fault {
        self.place.get_or_insert(place);
        self
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mistake.fmt(f)
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault::new(Mistake::Refused {
            found: String::new(),
            why: message.to_string(),
        })
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::wrong(found, expected_text(&expected.to_string()))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::wrong(found, expected_text(&expected.to_string()))
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        Fault::new(Mistake::UnknownWord {
            found: found.to_owned(),
            expected: expected.to_vec(),
            nearest: nearest(found, expected),
        })
    }

    fn unknown_field(found: &str, expected: &'static [&'static str]) -> Self {
        Fault::new(Mistake::UnknownKey {
            expected: expected.to_vec(),
            nearest: nearest(found, expected),
        })
    }

    fn missing_field(key: &'static str) -> Self {
        Fault::new(Mistake::Missing).under(Step::Key(key.to_owned()))
    }
}

fn found_text(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => format!("{value:?}"),
        Unexpected::Str(value) => format!("{value:?}"),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// Serde's names for Rust's types, in the words of someone who writes TOML.
fn expected_text(rust: &str) -> String {
    let plain = match rust {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => "a whole number, 1 or more",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "path string" => "a path in quotes",
        "a string" => "text in quotes",
        _ if rust.starts_with("struct ") => "a table",
        _ => rust,
    };
    plain.to_owned()
}

/// One value of the tree, to be read as whatever type serde asks for.
struct Reader<'a, 'i>(&'a Spanned<DeValue<'i>>);

impl Reader<'_, '_> {
    fn unexpected(&self) -> Unexpected<'_> {
        match self.0.get_ref() {
            DeValue::String(text) => Unexpected::Str(text),
            DeValue::Integer(number) => Unexpected::Other(number.as_str()),
            DeValue::Float(number) => Unexpected::Other(number.as_str()),
            DeValue::Boolean(value) => Unexpected::Bool(*value),
            DeValue::Datetime(_) => Unexpected::Other("a date"),
            DeValue::Array(_) => Unexpected::Seq,
            DeValue::Table(_) => Unexpected::Map,
        }
    }

    /// Completes a mistake that was made while reading this value.
    fn place(&self, mut fault: Fault) -> Fault {
        if let Mistake::Refused { found, .. } = &mut fault.mistake
            && found.is_empty()
        {
            *found = found_text(self.unexpected());
        }
        fault.at(self.0.span())
    }

    fn visit<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.get_ref() {
            DeValue::String(text) => visitor.visit_str(text),
            DeValue::Integer(number) => match integer(number) {
                Some(number) => visitor.visit_i64(number),
                None => Err(Fault::wrong(self.unexpected(), "a number below 2^63")),
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => visitor.visit_f64(number),
                _ => Err(Fault::wrong(self.unexpected(), "a finite number")),
            },
            DeValue::Boolean(value) => visitor.visit_bool(*value),
            DeValue::Datetime(_) => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
            DeValue::Array(items) => visitor.visit_seq(Items(items.iter().enumerate())),
            DeValue::Table(table) => visitor.visit_map(Entries {
                entries: table.iter(),
                value: None,
            }),
        }
    }
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

impl<'de> Deserializer<'de> for Reader<'_, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit(visitor).map_err(|fault| self.place(fault))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let read = match self.0.get_ref() {
            DeValue::String(word) => visitor.visit_enum(Word(word)),
            _ => {
                let expected = format!("one of {}", words.join(", "));
                Err(Fault::wrong(self.unexpected(), expected))
            }
        };
        read.map_err(|fault| self.place(fault))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a, 'i>(std::iter::Enumerate<std::slice::Iter<'a, Spanned<DeValue<'i>>>>);

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((index, item)) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(Reader(item))
            .map(Some)
            .map_err(|fault| fault.under(Step::Item(index)))
    }
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;

struct Entries<'a, 'i, I> {
    entries: I,
    value: Option<(&'a Key<'i>, &'a Spanned<DeValue<'i>>)>,
}

impl<'de, 'a, 'i: 'a, I> MapAccess<'de> for Entries<'a, 'i, I>
where
    I: Iterator<Item = (&'a Key<'i>, &'a Spanned<DeValue<'i>>)>,
{
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.value = self.entries.next();
        let Some((key, _)) = self.value else {
            return Ok(None);
        };
        let name: &str = key.get_ref();
        let reader: StrDeserializer<'_, Fault> = name.into_deserializer();
        seed.deserialize(reader)
            .map(Some)
            .map_err(|fault| fault.under(Step::Key(name.to_owned())).at(key.span()))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, value)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(Reader(value))
            .map_err(|fault| fault.under(Step::Key(key.get_ref().to_string())))
    }
}

/// A word that names a variant; variants hold nothing.
struct Word<'a>(&'a str);

impl<'de> EnumAccess<'de> for Word<'_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let reader: StrDeserializer<'_, Fault> = self.0.into_deserializer();
        seed.deserialize(reader).map(|variant| (variant, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, Fault> {
        Err(de::Error::custom(
            "this word needs a value, which a word cannot hold",
        ))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Fault> {
        Err(de::Error::custom(
            "this word needs values, which a word cannot hold",
        ))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Fault> {
        Err(de::Error::custom(
            "this word needs a table, which a word cannot hold",
        ))
    }
}
