//! What computes: the encoder as one candle operation on token ids, and the head on its result.
//!
//! The encoder is not split into candle's own operations, for each of them allocates its result
//! and walks over memory once more; it works in a workspace of its own. What comes out is a candle
//! tensor again, and a head is candle's own layers.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Module, Shape, Tensor};
use candle_nn::{LayerNorm, Linear};
use tidegate_kernels::{Batch, Encoder, Output, Pooling, Workspace};

use super::ModelError;
use super::dense::Dense;
use super::families::{Architecture, HeadActivation, Kinds};
use super::weights::Tensors;

/// A text as the model reads it, special tokens included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    pub ids: Vec<u32>,
    /// Whether each token belongs to a pair's second text (1) or not (0); empty if none does.
    pub kinds: Vec<u32>,
}

impl Sequence {
    /// Tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// What is wanted of each sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// One row: its pooled vector, or the scores of its classes.
    Result,
    /// A row for each token: the last hidden state.
    Tokens,
}

/// A loaded network. It is read-only: threads share it, each with a [`Workspace`] of its own.
pub struct Network {
    encoder: Encoder,
    kinds: Kinds,
    pooling: Pooling,
    /// On pooled vectors.
    dense: Vec<Dense>,
    head: Option<Head>,
    /// The longest sequence, in tokens.
    longest: usize,
}

/// `out(activation(dense(x)))` on rows of pooled vectors, with a norm before `out` in some families.
struct Head {
    dense: Linear,
    activation: HeadActivation,
    norm: Option<LayerNorm>,
    out: Linear,
    labels: usize,
}

impl Network {
    /// Builds the network, with a head if the architecture has labels.
    pub fn build(
        architecture: &Architecture,
        pooling: Pooling,
        dense: Vec<Dense>,
        longest: usize,
        tensors: &mut dyn Tensors,
    ) -> Result<Network, ModelError> {
        let encoder = architecture.encoder(tensors, longest)?;
        let labels = architecture.labels();
        let head = labels.map(|labels| Head::build(architecture, labels.len(), tensors));
        Ok(Network {
            encoder,
            kinds: architecture.family.kinds,
            pooling,
            dense,
            head: head.transpose()?,
            longest,
        })
    }

    /// Numbers in a [`Want::Result`].
    pub fn dimensions(&self) -> usize {
        match &self.head {
            Some(head) => head.labels,
            None => (self.dense.last()).map_or(self.encoder.width(), Dense::out),
        }
    }

    /// Numbers in a token's row.
    pub fn width(&self) -> usize {
        self.encoder.width()
    }

    /// Memory held by the weights.
    pub fn weights_bytes(&self) -> usize {
        let head = self.head.as_ref().map_or(0, Head::bytes);
        let dense: usize = self.dense.iter().map(Dense::bytes).sum();
        self.encoder.bytes() + dense + head
    }

    /// Working memory for one thread.
    pub fn workspace(&self) -> Workspace {
        Workspace::new(&self.encoder, self.longest)
    }

    /// Computes `batch` on as many threads as there are workspaces, and returns what is wanted of each
    /// sequence, in the order of the batch. No sequence is empty or longer than the model reads.
    pub fn compute(
        &self,
        batch: &[&Sequence],
        want: Want,
        workspaces: &mut [Workspace],
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut ids = Vec::new();
        let mut offsets = vec![0];
        for sequence in batch {
            ids.extend_from_slice(&sequence.ids);
            offsets.push(ids.len());
        }
        let kinds = self.kinds_of(batch);
        let encode = Encode {
            encoder: &self.encoder,
            kinds: kinds.as_deref(),
            offsets: &offsets,
            output: match want {
                Want::Result => Output::Pooled(self.pooling),
                Want::Tokens => Output::Hidden,
            },
            workspaces: Mutex::new(workspaces),
        };
        let tokens = ids.len();
        let ids = Tensor::from_vec(ids, tokens, &Device::Cpu)?;
        let mut rows = ids.apply_op1_no_bwd(&encode)?;
        if want == Want::Result {
            for dense in &self.dense {
                rows = dense.forward(&rows)?;
            }
            if let Some(head) = &self.head {
                rows = head.forward(&rows)?;
            }
        }
        let columns = rows.dim(1)?;
        let mut rows = rows.flatten_all()?.to_vec1()?;
        let lengths = batch.iter().map(|sequence| match want {
            Want::Result => columns,
            Want::Tokens => sequence.len() * columns,
        });
        // From the end, so that nothing is moved twice.
        let mut parts: Vec<_> = (lengths.rev())
            .map(|length| rows.split_off(rows.len() - length))
            .collect();
        parts.reverse();
        Ok(parts)
    }

    fn kinds_of(&self, batch: &[&Sequence]) -> Option<Vec<u32>> {
        let pairs = batch.iter().any(|sequence| !sequence.kinds.is_empty());
        if !pairs || self.kinds != Kinds::OfPairs {
            return None;
        }
        let mut kinds = Vec::new();
        for sequence in batch {
            let end = kinds.len() + sequence.len();
            kinds.extend_from_slice(&sequence.kinds);
            kinds.resize(end, 0);
        }
        Some(kinds)
    }
}

/// The encoder over one ragged batch: `[tokens]` of u32 to `[sequences or tokens, width]` of f32.
struct Encode<'a> {
    encoder: &'a Encoder,
    kinds: Option<&'a [u32]>,
    offsets: &'a [usize],
    output: Output,
    /// Operations are shared in candle; this one runs once.
    workspaces: Mutex<&'a mut [Workspace]>,
}

impl CustomOp1 for Encode<'_> {
    fn name(&self) -> &'static str {
        "tidegate-encode"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let ids = storage.as_slice::<u32>()?;
        let Some((first, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("token ids have to be contiguous");
        };
        let batch = Batch::new(&ids[first..end], self.kinds, self.offsets);
        let batch = batch.map_err(candle_core::Error::wrap)?;
        let rows = match self.output {
            Output::Hidden => batch.tokens(),
            Output::Pooled(_) | Output::Embedding(_) => batch.len(),
        };
        let mut out = vec![0.0; rows * self.encoder.width()];
        let mut workspaces = self
            .workspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let done = self
            .encoder
            .run(&batch, self.output, &mut workspaces, &mut out);
        done.map_err(candle_core::Error::wrap)?;
        let shape = Shape::from((rows, self.encoder.width()));
        Ok((CpuStorage::F32(out), shape))
    }
}

impl Head {
    fn build(
        architecture: &Architecture,
        labels: usize,
        tensors: &mut dyn Tensors,
    ) -> Result<Head, ModelError> {
        let width = architecture.config.hidden_size;
        let names = &architecture.family.head;
        let mut vector = |name: String, len: usize| -> Result<Tensor, ModelError> {
            Ok(Tensor::from_vec(
                tensors.vector(&name, len)?,
                len,
                &Device::Cpu,
            )?)
        };
        let norm = match names.norm {
            None => None,
            Some(name) => {
                let gain = vector(format!("{name}.weight"), width)?;
                let bias = match architecture.norms_have_bias() {
                    true => vector(format!("{name}.bias"), width)?,
                    false => gain.zeros_like()?,
                };
                let eps = f64::from(architecture.config.layer_norm_eps);
                Some(LayerNorm::new(gain, bias, eps))
            }
        };
        let dense_bias = match architecture.head_has_bias() {
            true => Some(vector(format!("{}.bias", names.dense), width)?),
            false => None,
        };
        let out_bias = vector(format!("{}.bias", names.out), labels)?;
        let mut linear = |name: &str, rows: usize, bias| -> Result<Linear, ModelError> {
            let weight = tensors.exact(&format!("{name}.weight"), rows, width)?;
            let weight = Tensor::from_vec(weight, (rows, width), &Device::Cpu)?;
            Ok(Linear::new(weight, bias))
        };
        Ok(Head {
            dense: linear(names.dense, width, dense_bias)?,
            activation: architecture.head_activation(),
            norm,
            out: linear(names.out, labels, Some(out_bias))?,
            labels,
        })
    }

    fn forward(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        let inner = self.dense.forward(rows)?;
        let inner = match self.activation {
            HeadActivation::Tanh => inner.tanh()?,
            HeadActivation::Relu => inner.relu()?,
            HeadActivation::Gelu => inner.gelu_erf()?,
        };
        match &self.norm {
            Some(norm) => self.out.forward(&norm.forward(&inner)?),
            None => self.out.forward(&inner),
        }
    }

    fn bytes(&self) -> usize {
        let linears = [&self.dense, &self.out];
        let values = linears.iter().map(|linear| {
            let bias = linear.bias().map_or(0, Tensor::elem_count);
            linear.weight().elem_count() + bias
        });
        let norm = self
            .norm
            .as_ref()
            .map_or(0, |norm| 2 * norm.weight().elem_count());
        (values.sum::<usize>() + norm) * size_of::<f32>()
    }
}
