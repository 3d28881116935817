//! The Dense module of sentence-transformers: a linear layer on pooled vectors, as in LaBSE and
//! distiluse. It is small beside the encoder, and stays in f32 when a model is quantized.

use candle_core::{Device, Module, Tensor};
use candle_nn::Linear;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::ModelError;
use super::files::Files;

/// A wider vector than any model gives.
const MOST_FEATURES: usize = 1 << 16;

/// `activation(weight x + bias)`.
#[derive(Debug)]
pub struct Dense {
    linear: Linear,
    activation: DenseActivation,
    out: usize,
}

/// What follows the linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DenseActivation {
    Identity,
    Tanh,
}

/// `config.json` of the module.
#[derive(Deserialize)]
struct DenseConfig {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "tanh")]
    activation_function: String,
}

fn yes() -> bool {
    true
}

/// What sentence-transformers takes where nothing is said.
fn tanh() -> String {
    "torch.nn.modules.activation.Tanh".to_owned()
}

impl Dense {
    /// Reads the module in the folder `path`, for vectors of `width` numbers.
    pub fn read(files: &Files, path: &str, width: usize) -> Result<Dense, ModelError> {
        let name = format!("{path}/config.json");
        let config: DenseConfig = files.need_json(&name)?;
        let refused = |problem: String| Err(files.invalid(&name, problem));
        let kind = config.activation_function.rsplit('.').next();
        let activation = match kind.unwrap_or_default() {
            "Identity" => DenseActivation::Identity,
            "Tanh" => DenseActivation::Tanh,
            other => {
                return refused(format!(
                    "activation_function \"{other}\" is not supported; expected Tanh or Identity"
                ));
            }
        };
        if config.in_features != width {
            return refused(format!(
                "in_features is {}, the vectors before it have {width} numbers",
                config.in_features
            ));
        }
        let out = config.out_features;
        if !(1..=MOST_FEATURES).contains(&out) {
            return refused(format!(
                "out_features is {out}; expected 1 to {MOST_FEATURES}"
            ));
        }
        let name = format!("{path}/model.safetensors");
        let Some(content) = files.read(&name)? else {
            let hint = match files.path(&format!("{path}/pytorch_model.bin")).is_file() {
                true => "pytorch_model.bin cannot be loaded; convert it to safetensors",
                false => "a Dense module has its weights in model.safetensors",
            };
            let file = files.path(&name);
            return Err(ModelError::Missing { file, hint });
        };
        let tensors =
            SafeTensors::deserialize(&content).map_err(|error| files.invalid(&name, error))?;
        let read = |tensor: &str, shape: &[usize]| {
            floats(&tensors, tensor, shape).map_err(|problem| files.invalid(&name, problem))
        };
        let weight = read("linear.weight", &[out, width])?;
        let bias = match config.bias {
            true => Some(read("linear.bias", &[out])?),
            false => None,
        };
        Ok(Dense {
            linear: Linear::new(weight, bias),
            activation,
            out,
        })
    }

    /// Numbers in what it gives.
    pub fn out(&self) -> usize {
        self.out
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        let bias = self.linear.bias().map_or(0, Tensor::elem_count);
        (self.linear.weight().elem_count() + bias) * size_of::<f32>()
    }

    pub fn forward(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        let rows = self.linear.forward(rows)?;
        match self.activation {
            DenseActivation::Identity => Ok(rows),
            DenseActivation::Tanh => rows.tanh(),
        }
    }
}

fn floats(tensors: &SafeTensors, name: &str, shape: &[usize]) -> Result<Tensor, String> {
    let tensor = tensors.tensor(name).map_err(|error| error.to_string())?;
    if tensor.shape() != shape || tensor.dtype() != Dtype::F32 {
        return Err(format!(
            "tensor {name} is {:?} of shape {:?}; expected F32 of shape {shape:?}",
            tensor.dtype(),
            tensor.shape()
        ));
    }
    let values: Vec<f32> = (tensor.data().chunks_exact(4))
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    if values.iter().any(|value| !value.is_finite()) {
        return Err(format!("tensor {name} holds numbers that are not finite"));
    }
    Tensor::from_vec(values, shape, &Device::Cpu).map_err(|error| error.to_string())
}
