//! Encoders: how close vectors, scores or labels are to the reference's.

use std::path::Path;

use super::{Closeness, CompareError, Origin, Reference, SECONDS, vectors};
use crate::bench::{self, Figures};
use crate::measure::{Engine, Inputs};
use crate::models::{self, Task};

pub struct Encoder {
    inputs: Inputs,
    threads: usize,
    reference: Results,
}

/// What a model gave, and what it is.
struct Results {
    figures: Figures,
    rows: Vec<Vec<f32>>,
    task: Task,
    origin: Origin,
}

impl Encoder {
    pub fn open(path: &Path, inputs: Inputs, threads: usize) -> Result<Encoder, CompareError> {
        Ok(Encoder {
            reference: results(path, &inputs, threads)?,
            inputs,
            threads,
        })
    }
}

impl Reference for Encoder {
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
        let results = results(path, &self.inputs, self.threads)?;
        let closeness = closeness(path, &self.reference, &results)?;
        Ok((results.figures, closeness))
    }
}

fn results(path: &Path, inputs: &Inputs, threads: usize) -> Result<Results, CompareError> {
    let opened = models::open(path)?;
    let origin = Origin::of(opened.package.as_ref(), &opened.weights)?;
    let mut engine = Engine::new(opened.load()?, threads);
    let task = engine.model.card.task.clone();
    let inputs = inputs.for_task(&task);
    let mut figures = bench::encoder::measure(&mut engine, &inputs, SECONDS)?;
    figures.model = path.display().to_string();
    Ok(Results {
        figures,
        rows: engine.pass(&inputs.items)?.results,
        task,
        origin,
    })
}

fn closeness(
    path: &Path,
    reference: &Results,
    results: &Results,
) -> Result<Closeness, CompareError> {
    let (found, expected) = (results.task.name(), reference.task.name());
    if found != expected {
        return Err(CompareError::OtherTask {
            path: path.to_owned(),
            found,
            expected,
        });
    }
    let (ours, theirs) = (&reference.rows, &results.rows);
    if matches!(results.task, Task::Embedding { .. }) {
        let same_space = results.origin.sha256 == reference.origin.sha256;
        return Ok(vectors::of_vectors(ours, theirs, same_space));
    }
    if let (
        Task::Classification { labels: found, .. },
        Task::Classification {
            labels: expected, ..
        },
    ) = (&results.task, &reference.task)
        && found != expected
    {
        return Err(CompareError::OtherLabels {
            path: path.to_owned(),
            found: found.clone(),
            expected: expected.clone(),
        });
    }
    Ok(vectors::of_logits(ours, theirs))
}
