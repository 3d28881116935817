//! What was measured against what was promised.

use std::fmt;

use serde_json::Value;

use super::Round;

/// One figure a round, and the bound it has to keep.
struct Figure {
    name: &'static str,
    rounds: Vec<f64>,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Default)]
pub struct Table {
    figures: Vec<Figure>,
}

impl Table {
    fn add(&mut self, name: &'static str, value: f64, bound: Bound) {
        let known = self.figures.iter_mut().find(|figure| figure.name == name);
        match known {
            Some(figure) => figure.rounds.push(value),
            None => self.figures.push(Figure {
                name,
                rounds: vec![value],
                bound,
            }),
        }
    }

    pub fn add_round(
        &mut self,
        ours: &Round,
        ours_f32: &Round,
        onnx: Option<&Round>,
        torch: Option<&Round>,
    ) {
        use Bound::{AtLeast, AtMost};
        let speed = |a: &Round, b: &Round| a.tokens_per_second / b.tokens_per_second;
        if let Some(onnx) = onnx {
            self.add(
                "int8, tokens/s: x ONNX Runtime int8",
                speed(ours, onnx),
                AtLeast(2.0),
            );
        }
        self.add(
            "int8, tokens/s: x own f32",
            speed(ours, ours_f32),
            AtLeast(2.5),
        );
        if let Some(torch) = torch {
            self.add(
                "f32, tokens/s: x PyTorch f32",
                speed(ours_f32, torch),
                AtLeast(1.0),
            );
        }
        if let Some(onnx) = onnx {
            let names = [
                "int8, 16 tokens, p50: x ONNX Runtime int8",
                "int8, 128 tokens, p50: x ONNX Runtime int8",
            ];
            let times = ours.p50_ms.iter().zip(onnx.p50_ms);
            for (name, (ours, onnx)) in names.into_iter().zip(times) {
                self.add(name, ours / onnx, AtMost(0.8));
            }
        }
    }

    /// From a comparison of the int8 file with its checkpoint.
    pub fn add_model(&mut self, comparison: &Value) {
        use Bound::AtLeast;
        let (row, reference) = (&comparison["models"][0], &comparison["reference"]);
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let cosine = &row["closeness"]["cosine"];
        self.add(
            "cosine to f32, mean",
            number(&cosine["mean"]),
            AtLeast(0.998),
        );
        self.add("cosine to f32, min", number(&cosine["min"]), AtLeast(0.99));
        let checkpoint = number(&reference["model_bytes"]);
        let smaller = |key: &str| checkpoint / number(&row[key]);
        self.add(
            "checkpoint / int8 file",
            smaller("model_bytes"),
            AtLeast(3.8),
        );
        self.add(
            "checkpoint / weights in memory",
            smaller("weights_bytes"),
            AtLeast(3.8),
        );
    }

    pub fn add_start(&mut self, seconds: Vec<f64>) {
        for seconds in seconds {
            self.add("start to ready, seconds", seconds, Bound::AtMost(0.5));
        }
    }

    pub fn add_service(&mut self, shares: Vec<f64>) {
        for share in shares {
            self.add(
                "through the proxy / in process",
                share,
                Bound::AtLeast(0.85),
            );
        }
    }

    pub fn all_met(&self) -> bool {
        self.figures.iter().all(Figure::is_met)
    }
}

impl Figure {
    /// Lowest, median and highest.
    fn spread(&self) -> [f64; 3] {
        let mut rounds = self.rounds.clone();
        rounds.sort_by(f64::total_cmp);
        [
            rounds[0],
            rounds[rounds.len() / 2],
            rounds[rounds.len() - 1],
        ]
    }

    fn is_met(&self) -> bool {
        let [_, median, _] = self.spread();
        match self.bound {
            Bound::AtLeast(least) => median >= least,
            Bound::AtMost(most) => median <= most,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<44} {:>8} {:>8} {:>8}  must",
            "figure", "median", "lowest", "highest"
        )?;
        for figure in &self.figures {
            let [lowest, median, highest] = figure.spread();
            let (sign, bound) = match figure.bound {
                Bound::AtLeast(least) => (">=", least),
                Bound::AtMost(most) => ("<=", most),
            };
            writeln!(
                out,
                "{:<44} {median:>8.4} {lowest:>8.4} {highest:>8.4}  {sign} {bound}{}",
                figure.name,
                if figure.is_met() { "" } else { "  MISSED" }
            )?;
        }
        Ok(())
    }
}
