//! The figures of encoders, and what each must reach.

use serde_json::Value;

use super::Round;
use crate::table::Bound::{AtLeast, AtMost};
use crate::table::Table;

pub fn add_round(
    table: &mut Table,
    ours: &Round,
    ours_f32: &Round,
    onnx: Option<&Round>,
    torch: Option<&Round>,
) {
    let speed = |a: &Round, b: &Round| a.tokens_per_second / b.tokens_per_second;
    if let Some(onnx) = onnx {
        let name = "int8, tokens/s: x ONNX Runtime int8";
        table.add(name, speed(ours, onnx), AtLeast(2.0));
    }
    let name = "int8, tokens/s: x own f32";
    table.add(name, speed(ours, ours_f32), AtLeast(2.5));
    if let Some(torch) = torch {
        let name = "f32, tokens/s: x PyTorch f32";
        table.add(name, speed(ours_f32, torch), AtLeast(1.0));
    }
    if let Some(onnx) = onnx {
        let names = [
            "int8, 16 tokens, p50: x ONNX Runtime int8",
            "int8, 128 tokens, p50: x ONNX Runtime int8",
        ];
        let times = ours.p50_ms.iter().zip(onnx.p50_ms);
        for (name, (ours, onnx)) in names.into_iter().zip(times) {
            table.add(name, ours / onnx, AtMost(0.8));
        }
    }
}

/// From a comparison of the int8 file with its checkpoint.
pub fn add_model(table: &mut Table, comparison: &Value) {
    let (row, reference) = (&comparison["models"][0], &comparison["reference"]);
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let cosine = &row["closeness"]["cosine"];
    table.add(
        "cosine to f32, mean",
        number(&cosine["mean"]),
        AtLeast(0.998),
    );
    table.add("cosine to f32, min", number(&cosine["min"]), AtLeast(0.99));
    let checkpoint = number(&reference["model_bytes"]);
    let smaller = |key: &str| checkpoint / number(&row[key]);
    let name = "checkpoint / int8 file";
    table.add(name, smaller("model_bytes"), AtLeast(3.8));
    let name = "checkpoint / weights in memory";
    table.add(name, smaller("weights_bytes"), AtLeast(3.8));
}
