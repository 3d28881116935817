//! Writes files: `quantize` its models, tests their hostile ones.

use std::io::{self, Write};

use crate::value::{Numbers, Strings, Value};
use crate::{DEFAULT_ALIGNMENT, Kind, tensor};

/// Collects a header, then writes a file of version 3.
#[derive(Debug, Default)]
pub struct Writer {
    attributes: Vec<u8>,
    attribute_count: u64,
    tensors: Vec<(String, Kind, Vec<u64>, u64)>,
}

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Adds an attribute. Whole numbers become u32 where they fit, as readers of GGUF expect.
    pub fn attribute(&mut self, key: &str, value: &Value) {
        self.attribute_count += 1;
        self.attributes.extend(attribute_bytes(key, value));
    }

    /// Adds a tensor, innermost dimension first. Its bytes are asked for by [`Writer::write`].
    ///
    /// # Errors
    /// A shape that is no whole blocks, or too large.
    pub fn tensor(&mut self, name: &str, kind: Kind, dimensions: &[u64]) -> Result<(), String> {
        let bytes = tensor::size(name, kind, dimensions).map_err(|problem| problem.to_string())?;
        self.tensors
            .push((name.to_owned(), kind, dimensions.to_vec(), bytes));
        Ok(())
    }

    /// Writes all. `data` gives the bytes of a tensor, by name, in the order they were added.
    ///
    /// # Errors
    /// What writing or `data` failed with, and bytes that are not as many as a shape calls for.
    pub fn write<E: From<io::Error>>(
        &self,
        out: &mut impl Write,
        mut data: impl FnMut(&str) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        let mut header = Vec::new();
        header.extend(b"GGUF");
        header.extend(3u32.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend(self.attribute_count.to_le_bytes());
        header.extend(&self.attributes);
        let mut offset: u64 = 0;
        for (name, kind, dimensions, bytes) in &self.tensors {
            string(&mut header, name);
            header.extend((dimensions.len() as u32).to_le_bytes());
            header.extend(dimensions.iter().flat_map(|d| d.to_le_bytes()));
            header.extend(kind.id().to_le_bytes());
            header.extend(offset.to_le_bytes());
            offset = (offset + bytes).next_multiple_of(DEFAULT_ALIGNMENT);
        }
        pad(&mut header);
        out.write_all(&header)?;
        for (name, _, _, expected) in &self.tensors {
            let mut bytes = data(name)?;
            if bytes.len() as u64 != *expected {
                let problem = format!(
                    "tensor {name} has {} bytes, its shape calls for {expected}",
                    bytes.len()
                );
                return Err(io::Error::other(problem).into());
            }
            pad(&mut bytes);
            out.write_all(&bytes)?;
        }
        Ok(())
    }
}

/// An attribute as [`Writer`] writes it.
pub fn attribute_bytes(key: &str, value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let out = &mut bytes;
    string(out, key);
    match value {
        Value::Unsigned(number) => match u32::try_from(*number) {
            Ok(narrow) => scalar(out, 4, &narrow.to_le_bytes()),
            Err(_) => scalar(out, 10, &number.to_le_bytes()),
        },
        Value::Signed(number) => match i32::try_from(*number) {
            Ok(narrow) => scalar(out, 5, &narrow.to_le_bytes()),
            Err(_) => scalar(out, 11, &number.to_le_bytes()),
        },
        Value::Float(number) => scalar(out, 6, &(*number as f32).to_le_bytes()),
        Value::Bool(truth) => scalar(out, 7, &[u8::from(*truth)]),
        Value::String(text) => {
            out.extend(8u32.to_le_bytes());
            string(out, text);
        }
        Value::Numbers(numbers) => array_of_numbers(out, numbers),
        Value::Strings(strings) => array_of_strings(out, strings),
    }
    bytes
}

fn pad(bytes: &mut Vec<u8>) {
    let whole = bytes.len().next_multiple_of(DEFAULT_ALIGNMENT as usize);
    bytes.resize(whole, 0);
}

fn scalar(out: &mut Vec<u8>, kind: u32, bytes: &[u8]) {
    out.extend(kind.to_le_bytes());
    out.extend(bytes);
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn array_of_numbers(out: &mut Vec<u8>, numbers: &Numbers) {
    out.extend(9u32.to_le_bytes());
    out.extend(numbers.scalar.id().to_le_bytes());
    out.extend((numbers.len() as u64).to_le_bytes());
    out.extend(&numbers.bytes);
}

fn array_of_strings(out: &mut Vec<u8>, strings: &Strings) {
    out.extend(9u32.to_le_bytes());
    out.extend(8u32.to_le_bytes());
    out.extend((strings.len() as u64).to_le_bytes());
    strings.iter().for_each(|text| string(out, text));
}
