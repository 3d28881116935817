//! Sequence-to-sequence models: matrices in blocks of 8 bits, the layers that lead back from
//! the wide rows in 16.

use std::path::Path;

use safetensors::Dtype;
use tidegate_kernels::{BlockType, RawWeights};

use super::{MOST_ERROR, QuantizeError, Quantizer, Report, Row, error_of, finish};
use crate::models::seq2seq::{self, Raw, Rule, Tensors, encode};
use crate::models::{ModelError, Tensors as _};

/// Sizes that the network is built for while its tensors are quantized; nothing is computed.
const TOKENS: usize = 1;

/// The rule, as it is printed and kept in the file.
pub fn rule() -> String {
    format!(
        "matrices and tables in int8, one scale for every 32 weights, except where rounding changes them by more than {} %; wo, which follows the wide rows, in float16; biases by distance and norms in float32",
        MOST_ERROR * 100.0
    )
}

pub fn run(model: &Path, out: &Path) -> Result<Report, QuantizeError> {
    let opened = seq2seq::open(model)?;
    if opened.package.is_some() {
        return Err(QuantizeError::AlreadyQuantized(model.to_owned()));
    }
    // Also proves that the tokenizer can be read, and that its file is found below.
    opened.tokenizer(TOKENS + 1)?;
    let weights = opened.weights.again()?;
    let mut quantizer = Quantizer::new(weights);
    opened.network(&mut quantizer, TOKENS, TOKENS)?;
    finish(quantizer, model, out, opened.files.found()?, rule())
}

impl Tensors for Quantizer {
    fn has(&self, name: &str) -> bool {
        self.weights.has(name)
    }

    fn matrix(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
        rule: Rule,
    ) -> Result<Raw, ModelError> {
        self.progress.step(name);
        let original = self.weights.exact(name, rows, cols)?;
        let wanted = match rule {
            Rule::Small if BlockType::Q8_0.row_bytes(cols).is_some() => BlockType::Q8_0,
            Rule::Small | Rule::Finer => BlockType::F16,
        };
        let mut raw = encode(wanted, &original)?;
        let error = error(&original, &raw, rows, cols)?;
        let kept = error > MOST_ERROR;
        if kept {
            raw = encode(BlockType::F32, &original)?;
        }
        let (dtype, width) = match raw.kind {
            BlockType::Q8_0 => (Dtype::U8, raw.bytes.len() / rows),
            BlockType::F16 => (Dtype::F16, cols),
            _ => (Dtype::F32, cols),
        };
        self.rows.push(Row {
            tensor: name.to_owned(),
            shape: [rows, cols],
            bytes_before: size_of_val(original.as_slice()),
            bytes_after: raw.bytes.len(),
            error,
            kept,
        });
        self.store(name, dtype, &[rows, width], raw.bytes.clone());
        Ok(raw)
    }

    fn exact(&mut self, name: &str, rows: usize, cols: usize) -> Result<Vec<f32>, ModelError> {
        crate::models::Tensors::exact(self, name, rows, cols)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        crate::models::Tensors::vector(self, name, len)
    }
}

fn error(original: &[f32], raw: &Raw, rows: usize, cols: usize) -> Result<f64, ModelError> {
    let weights = RawWeights {
        kind: raw.kind,
        rows,
        cols,
        bytes: &raw.bytes,
    };
    let mut restored = vec![0.0; original.len()];
    for (row, out) in restored.chunks_exact_mut(cols).enumerate() {
        weights.dequantize_row(row, out)?;
    }
    Ok(error_of(original, restored))
}
