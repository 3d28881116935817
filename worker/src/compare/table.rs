//! A comparison as a table.

use std::fmt;

use super::{Comparison, Row};
use crate::bench::Figures;
use crate::units::Bytes;

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.models.iter().map(|row| row.figures.model.len());
        let width = names.chain([self.reference.model.len()]).max().unwrap_or(5);
        writeln!(
            out,
            "{:<width$}  {:>9}  {:>9}  {:>8}  {:>7}  {:>7}  closeness to the reference over {} inputs",
            "model", "disk", "weights", "tokens/s", "p50 ms", "p99 ms", self.inputs
        )?;
        line(out, width, &self.reference, "is the reference")?;
        for row in &self.models {
            line(out, width, &row.figures, &row.closeness.to_string())?;
        }
        for Row {
            figures, misses, ..
        } in &self.models
        {
            if !misses.is_empty() {
                writeln!(out, "{} misses: {}", figures.model, misses.join("; "))?;
            }
        }
        match &self.chosen {
            Some(chosen) => write!(out, "smallest that meets what is asked for: {chosen}"),
            None => write!(out, "no model meets what is asked for"),
        }
    }
}

fn line(
    out: &mut fmt::Formatter<'_>,
    width: usize,
    figures: &Figures,
    closeness: &str,
) -> fmt::Result {
    writeln!(
        out,
        "{:<width$}  {:>9}  {:>9}  {:>8.0}  {:>7.2}  {:>7.2}  {closeness}",
        figures.model,
        Bytes(figures.model_bytes),
        Bytes(figures.weights_bytes),
        figures.speed.tokens_per_second(),
        figures.p50_ms,
        figures.p99_ms
    )
}
