//! BERT in f32, by candle's own model.
//!
//! It computes rectangles, so texts of like length are computed together: what is padded is
//! computed for nothing. Each lane computes on the thread that calls it.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, safetensors};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};

use super::layout::{self, Layout, Scaling};
use super::pooling::{self, Pooling};
use super::{Encoder, ModelError};

/// Cells of a rectangle. From 256 to 2048 a token takes the same time, within 5 %, so this is
/// small: less is padded.
const MAX_CELLS: usize = 512;

/// A rectangle's shortest text has at least this share of the longest one's tokens.
const MIN_FILL: f64 = 0.8;

#[derive(Clone)]
pub struct Bert {
    model: Arc<BertModel>,
    dimensions: usize,
    pooling: Pooling,
    scaling: Scaling,
}

/// A model as it comes from its directory.
pub struct Loaded {
    pub encoder: Bert,
    /// Numbers in a vector.
    pub dimensions: usize,
    /// The longest text that the weights allow, in tokens.
    pub positions: usize,
    /// Token ids are below this.
    pub vocabulary: usize,
}

/// Reads config.json and the weights.
pub fn load(layout: &Layout) -> Result<Loaded, ModelError> {
    let config: Config = layout::read_json(&layout.config_file())?;
    let file = layout.weights_file()?;
    let invalid = |error: candle_core::Error| ModelError::Invalid {
        file: file.clone(),
        problem: error.to_string(),
    };
    let bytes = std::fs::read(&file).map_err(|error| ModelError::Unreadable {
        file: file.clone(),
        error,
    })?;
    let tensors = safetensors::load_buffer(&bytes, &Device::Cpu).map_err(invalid)?;
    drop(bytes);
    let tensors = tensors.into_iter().map(lay_out).collect::<Result<_, _>>();
    let weights = VarBuilder::from_tensors(tensors.map_err(invalid)?, DType::F32, &Device::Cpu);
    let model = BertModel::load(weights, &config);
    let encoder = Bert {
        model: Arc::new(model.map_err(invalid)?),
        dimensions: config.hidden_size,
        pooling: layout.pooling,
        scaling: layout.scaling,
    };
    Ok(Loaded {
        encoder,
        dimensions: config.hidden_size,
        positions: config.max_position_embeddings,
        vocabulary: config.vocab_size,
    })
}

/// Stores a linear layer's weights column by column; their shape stays as it is.
///
/// Row by row, as files have them, the matrix product packs them anew at each call: 8 of the
/// 17 ms that a text of 16 tokens took.
fn lay_out((name, tensor): (String, Tensor)) -> Result<(String, Tensor), candle_core::Error> {
    if tensor.rank() != 2 || name.contains("embeddings") {
        return Ok((name, tensor));
    }
    let columns = tensor.t()?.contiguous()?.t()?;
    Ok((name, columns))
}

impl Bert {
    /// Texts of one rectangle, the longest first.
    fn embed_rectangle(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, ModelError> {
        let length = texts.first().map_or(0, |text| text.len());
        let mut ids = Vec::with_capacity(texts.len() * length);
        let mut mask = Vec::with_capacity(texts.len() * length);
        for text in texts {
            ids.extend_from_slice(text);
            ids.resize(ids.len() + length - text.len(), 0);
            mask.extend((0..length).map(|position| u8::from(position < text.len())));
        }
        let shape = (texts.len(), length);
        let ids = Tensor::from_vec(ids, shape, &Device::Cpu)?;
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
        let hidden = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let hidden = hidden.flatten_all()?.to_vec1::<f32>()?;
        let rows = hidden.chunks_exact(length * self.dimensions);
        Ok(texts
            .iter()
            .zip(rows)
            .map(|(text, row)| self.finish(&row[..text.len() * self.dimensions]))
            .collect())
    }

    fn finish(&self, tokens: &[f32]) -> Vec<f32> {
        let mut vector = self.pooling.apply(tokens, self.dimensions);
        if self.scaling == Scaling::Unit {
            pooling::normalize(&mut vector);
        }
        vector
    }
}

impl Encoder for Bert {
    fn embed(&mut self, batch: &[&[u32]]) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(batch[*index].len()));
        let mut vectors = vec![Vec::new(); batch.len()];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rectangle(rest, batch));
            let texts: Vec<&[u32]> = now.iter().map(|index| batch[*index]).collect();
            for (index, vector) in now.iter().zip(self.embed_rectangle(&texts)?) {
                vectors[*index] = vector;
            }
            rest = later;
        }
        Ok(vectors)
    }
}

/// How many of the texts in `order`, the longest first, make the next rectangle; at least one.
fn rectangle(order: &[usize], batch: &[&[u32]]) -> usize {
    let longest = order.first().map_or(1, |index| batch[*index].len().max(1));
    let shortest = (longest as f64 * MIN_FILL) as usize;
    let most = (MAX_CELLS / longest).max(1);
    let alike = order
        .iter()
        .take(most)
        .take_while(|index| batch[**index].len() >= shortest);
    alike.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_hold_texts_of_like_length_and_at_least_one() {
        let lengths = |lengths: &[usize]| -> usize {
            let texts: Vec<Vec<u32>> = lengths.iter().map(|length| vec![1; *length]).collect();
            let batch: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            let order: Vec<usize> = (0..batch.len()).collect();
            rectangle(&order, &batch)
        };
        assert_eq!(lengths(&[100, 90, 80, 20]), 3);
        assert_eq!(lengths(&[MAX_CELLS * 2, MAX_CELLS * 2]), 1);
        assert_eq!(lengths(&[MAX_CELLS / 2; 5]), 2);
        assert_eq!(lengths(&[2]), 1);
    }
}
