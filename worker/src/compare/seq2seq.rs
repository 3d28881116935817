//! Sequence-to-sequence models: how many of their texts are those of the reference, and how
//! close the others are.

use std::path::Path;

use super::chrf::chrf;
use super::{Closeness, CompareError, Origin, Reference, SECONDS};
use crate::bench::Figures;
use crate::bench::seq2seq::{Bench, Length};
use crate::measure::Inputs;
use crate::models::seq2seq;

pub struct Seq2Seq {
    inputs: Inputs,
    threads: usize,
    reference: Results,
}

/// What a model made of the inputs, and what it is.
struct Results {
    figures: Figures,
    texts: Vec<String>,
    origin: Origin,
}

impl Seq2Seq {
    pub fn open(path: &Path, inputs: Inputs, threads: usize) -> Result<Seq2Seq, CompareError> {
        Ok(Seq2Seq {
            reference: results(path, &inputs, threads)?,
            inputs,
            threads,
        })
    }
}

impl Reference for Seq2Seq {
    fn figures(&self) -> &Figures {
        &self.reference.figures
    }

    fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    fn origin(&self) -> &Origin {
        &self.reference.origin
    }

    fn judge(&mut self, path: &Path) -> Result<(Figures, Closeness), CompareError> {
        if !seq2seq::is_seq2seq(path) {
            return Err(CompareError::OtherTask {
                path: path.to_owned(),
                found: "model for something else",
                expected: "seq2seq",
            });
        }
        let Results { figures, texts, .. } = results(path, &self.inputs, self.threads)?;
        let pairs = || self.reference.texts.iter().zip(&texts);
        let same = pairs().filter(|(one, other)| one == other).count();
        let closeness = Closeness {
            exact_match: Some(same as f64 / texts.len() as f64),
            chrf: Some(chrf(
                pairs().map(|(one, other)| (one.as_str(), other.as_str())),
            )),
            ..Closeness::default()
        };
        Ok((figures, closeness))
    }
}

fn results(path: &Path, inputs: &Inputs, threads: usize) -> Result<Results, CompareError> {
    let opened = seq2seq::open(path)?;
    let origin = Origin::of(opened.package.as_ref(), &opened.weights)?;
    let mut bench = Bench::new(path, opened, threads)?;
    Ok(Results {
        texts: bench.texts(inputs)?,
        figures: bench.measure(inputs, Length::Natural, SECONDS)?,
        origin,
    })
}
