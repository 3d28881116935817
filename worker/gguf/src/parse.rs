//! Reads a header, byte by byte, against the length of the file.

use std::collections::BTreeMap;
use std::io::Read;

use crate::error::{GgufError, Problem};
use crate::value::{Numbers, Scalar, Strings, Value};
use crate::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Gguf, Kind, MAX_ENTRIES, MAX_HEADER_BYTES, Tensor, kind,
    tensor,
};

/// The longest key of an attribute and the longest name of a tensor; ggml allows 65,535 and 63.
pub(crate) const MAX_NAME_BYTES: u64 = 1024;

/// The fewest bytes that an attribute takes: length of a key of one letter, type, a byte.
const LEAST_ATTRIBUTE: u64 = 8 + 1 + 4 + 1;

/// The fewest bytes that a tensor's entry takes: a name of one letter, one dimension, type, offset.
const LEAST_TENSOR: u64 = 8 + 1 + 4 + 8 + 4 + 8;

const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// How much is read, and allocated for, at once.
const PIECE: u64 = 1 << 16;

pub(crate) fn header(source: impl Read, length: u64) -> Result<Gguf, GgufError> {
    let mut reader = Reader {
        source: std::io::BufReader::new(source),
        at: 0,
        length,
    };
    let read = read_header(&mut reader);
    read.map_err(|problem| GgufError {
        at: reader.at,
        problem,
    })
}

fn read_header<R: Read>(reader: &mut Reader<R>) -> Result<Gguf, Problem> {
    let magic = reader.array::<4>("the magic")?;
    if &magic != b"GGUF" {
        return Err(Problem::Magic(magic.escape_ascii().to_string()));
    }
    let version = reader.u32("the version")?;
    if version.swap_bytes() <= 3 && version > 0 {
        return Err(Problem::BigEndian);
    }
    if version != 2 && version != 3 {
        return Err(Problem::Version(version));
    }
    let tensor_count = reader.u64("the count of tensors")?;
    let attribute_count = reader.u64("the count of attributes")?;
    for (what, count, least) in [
        ("attributes", attribute_count, LEAST_ATTRIBUTE),
        ("tensors", tensor_count, LEAST_TENSOR),
    ] {
        reader.may_hold(what, count, least)?;
        if count > MAX_ENTRIES {
            return Err(Problem::Entries { what, count });
        }
    }

    let mut attributes = BTreeMap::new();
    for _ in 0..attribute_count {
        let key = reader.name()?;
        let value = reader.value(&key)?;
        if attributes.insert(key.clone(), value).is_some() {
            return Err(twice("attribute", key));
        }
    }
    let alignment = alignment(attributes.get(ALIGNMENT_KEY))?;
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let (name, entry) = reader.tensor()?;
        if tensors.insert(name.clone(), entry).is_some() {
            return Err(twice("tensor", name));
        }
    }
    // Within u64: a header has at most MAX_HEADER_BYTES.
    let data = reader.at.next_multiple_of(alignment);
    tensor::place(&mut tensors, data, reader.length, alignment)?;
    Ok(Gguf {
        version,
        alignment,
        attributes,
        tensors,
    })
}

fn twice(what: &'static str, name: String) -> Problem {
    Problem::Twice { what, name }
}

fn alignment(stated: Option<&Value>) -> Result<u64, Problem> {
    let Some(value) = stated else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    match value.as_u64() {
        Some(bytes) if bytes.is_power_of_two() && (8..=65536).contains(&bytes) => Ok(bytes),
        Some(bytes) => Err(Problem::Alignment(bytes.to_string())),
        None => Err(Problem::Alignment(value.describe().to_owned())),
    }
}

struct Reader<R> {
    source: std::io::BufReader<R>,
    at: u64,
    length: u64,
}

impl<R: Read> Reader<R> {
    fn left(&self) -> u64 {
        self.length.saturating_sub(self.at)
    }

    /// Refuses a count of things that need more bytes than the file has.
    fn may_hold(&self, what: &'static str, count: u64, least: u64) -> Result<(), Problem> {
        let left = self.left();
        match count.checked_mul(least) {
            Some(bytes) if bytes <= left => Ok(()),
            _ => Err(Problem::Count { what, count, left }),
        }
    }

    /// Refuses what would end behind the file, or behind the longest header.
    fn may_read(&self, what: &'static str, bytes: u64) -> Result<(), Problem> {
        let left = self.left();
        if bytes > left {
            return Err(Problem::CutOff {
                what,
                needed: bytes,
                left,
            });
        }
        if self.at + bytes > MAX_HEADER_BYTES {
            return Err(Problem::LongHeader(MAX_HEADER_BYTES));
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Problem> {
        self.may_read(what, N as u64)?;
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Problem> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, Problem> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Appends bytes to `to`, which grows only as they arrive.
    fn append(&mut self, what: &'static str, bytes: u64, to: &mut Vec<u8>) -> Result<(), Problem> {
        self.may_read(what, bytes)?;
        let mut left = bytes;
        while left > 0 {
            let now = left.min(PIECE) as usize;
            let start = to.len();
            to.resize(start + now, 0);
            self.source.read_exact(&mut to[start..])?;
            left -= now as u64;
            self.at += now as u64;
        }
        Ok(())
    }

    fn bytes(&mut self, what: &'static str, bytes: u64) -> Result<Vec<u8>, Problem> {
        let mut all = Vec::new();
        self.append(what, bytes, &mut all)?;
        Ok(all)
    }

    fn string(&mut self, what: &'static str) -> Result<Vec<u8>, Problem> {
        let length = self.u64(what)?;
        self.bytes(what, length)
    }

    fn name(&mut self) -> Result<String, Problem> {
        let length = self.u64("the length of a name")?;
        if !(1..=MAX_NAME_BYTES).contains(&length) {
            return Err(Problem::NameLength(length));
        }
        let bytes = self.bytes("a name", length)?;
        String::from_utf8(bytes).map_err(|_| Problem::NotUtf8("a name".to_owned()))
    }

    fn value(&mut self, key: &str) -> Result<Value, Problem> {
        let kind = self.u32("the type of a value")?;
        match kind {
            STRING => {
                let bytes = self.string("a string")?;
                let text = String::from_utf8(bytes);
                text.map(Value::String)
                    .map_err(|_| Problem::NotUtf8(format!("attribute {key:?}")))
            }
            ARRAY => self.array_value(key),
            _ => {
                let scalar = scalar(key, kind)?;
                let bytes = self.bytes("a value", scalar.bytes() as u64)?;
                check_bools(key, scalar, &bytes)?;
                Ok(scalar.decode(&bytes))
            }
        }
    }

    fn array_value(&mut self, key: &str) -> Result<Value, Problem> {
        let kind = self.u32("the type of an array")?;
        let count = self.u64("the length of an array")?;
        match kind {
            ARRAY => Err(Problem::Nested {
                key: key.to_owned(),
            }),
            STRING => self.strings(key, count).map(Value::Strings),
            _ => {
                let scalar = scalar(key, kind)?;
                let width = scalar.bytes() as u64;
                self.may_hold("values of an array", count, width)?;
                let bytes = self.bytes("an array", count * width)?;
                check_bools(key, scalar, &bytes)?;
                Ok(Value::Numbers(Numbers { scalar, bytes }))
            }
        }
    }

    fn strings(&mut self, key: &str, count: u64) -> Result<Strings, Problem> {
        self.may_hold("strings of an array", count, size_of::<u64>() as u64)?;
        let mut strings = Strings::default();
        let mut bytes = Vec::new();
        for index in 0..count {
            bytes.clear();
            let length = self.u64("the length of a string")?;
            self.append("a string", length, &mut bytes)?;
            match std::str::from_utf8(&bytes) {
                Ok(text) => strings.push(text),
                Err(_) => {
                    let place = format!("string {index} of attribute {key:?}");
                    return Err(Problem::NotUtf8(place));
                }
            }
        }
        Ok(strings)
    }

    /// A tensor's entry, its offset counted from the beginning of the data.
    fn tensor(&mut self) -> Result<(String, Tensor), Problem> {
        let name = self.name()?;
        let count = self.u32("the dimensions of a tensor")?;
        if !(1..=4).contains(&count) {
            return Err(Problem::Dimensions { name, found: count });
        }
        let mut dimensions = Vec::new();
        for _ in 0..count {
            dimensions.push(self.u64("a dimension")?);
        }
        let id = self.u32("the type of a tensor")?;
        let offset = self.u64("the offset of a tensor")?;
        let Some(kind) = Kind::from_id(id) else {
            let stored = kind::describe(id);
            return Err(Problem::Kind { name, stored });
        };
        let bytes = tensor::size(&name, kind, &dimensions)?;
        let entry = Tensor {
            kind,
            dimensions,
            offset,
            bytes,
        };
        Ok((name, entry))
    }
}

fn scalar(key: &str, kind: u32) -> Result<Scalar, Problem> {
    Scalar::from_id(kind).ok_or_else(|| Problem::ValueType {
        key: key.to_owned(),
        found: kind,
    })
}

fn check_bools(key: &str, scalar: Scalar, bytes: &[u8]) -> Result<(), Problem> {
    let wrong = (scalar == Scalar::Bool).then(|| bytes.iter().find(|&&byte| byte > 1));
    match wrong.flatten() {
        None => Ok(()),
        Some(&found) => Err(Problem::Bool {
            key: key.to_owned(),
            found,
        }),
    }
}
