//! Whether this worker may serve a model: it must be close enough to its original, and fit into memory.
//! Both are checked before it is loaded.

use thiserror::Error;

use crate::config::{QualityConfig, WorkerConfig};
use crate::engine::{decoder, seq2seq};
use crate::memory::{self, Plan, Shares};
use crate::models::{self, Opened, Package, Quality, Task};
use crate::threads;
use crate::units::Bytes;

/// A record over fewer inputs says little about the worst of them.
const LEAST_INPUTS: usize = 200;

/// What the configuration asks of a model.
pub struct Demands {
    pub threads: usize,
    memory_limit: Option<Bytes>,
    quality: QualityConfig,
}

/// Why a model is not served.
#[derive(Debug, Error)]
pub enum Unfit {
    #[error("it would need {plan}; the memory limit is {limit}; {alternatives}")]
    TooLarge {
        plan: Plan,
        limit: Bytes,
        alternatives: String,
    },
    #[error("it would need {plan}; the memory limit is {limit}; {alternatives}")]
    DecoderTooLarge {
        plan: decoder::Plan,
        limit: Bytes,
        alternatives: String,
    },
    #[error("it would need {plan}; the memory limit is {limit}; {alternatives}")]
    Seq2SeqTooLarge {
        plan: seq2seq::Plan,
        limit: Bytes,
        alternatives: String,
    },
    #[error("the process holds {held} after the first computation, the memory limit is {limit}")]
    HoldsTooMuch { held: Bytes, limit: Bytes },
    #[error(
        "[quality] {floor} is set, and the file has no record of it; measure it by `tidegate-worker compare --reference DIR --model FILE --record`"
    )]
    NoRecord { floor: &'static str },
    #[error("[quality] {floor} is set, and does not apply to a {task}")]
    FloorDoesNotApply {
        floor: &'static str,
        task: &'static str,
    },
    #[error(
        "its record is of another file; measure it again by `tidegate-worker compare --record`"
    )]
    OtherRecord,
    #[error("its record is over {inputs} inputs; expected at least {LEAST_INPUTS}")]
    ThinRecord { inputs: usize },
    #[error("[quality] {floor} = {limit}, and its record says {found:.5}")]
    BelowFloor {
        floor: &'static str,
        limit: f64,
        found: f64,
    },
}

impl Demands {
    pub fn of(config: &WorkerConfig) -> Demands {
        Demands {
            threads: threads::count(config.threads),
            memory_limit: config.memory_limit,
            quality: config.quality.clone(),
        }
    }

    /// Before the weights are read. Where memory is limited, what is left of it for requests.
    pub(crate) fn check(&self, opened: &Opened) -> Result<Option<Shares>, Unfit> {
        self.check_quality(opened.package.as_ref(), Purpose::Encoder(&opened.task()))?;
        let plan = Plan::of(opened, self.threads);
        match self.memory_limit {
            Some(limit) if plan.total() > limit => Err(Unfit::TooLarge {
                plan,
                limit,
                alternatives: plan.alternatives(limit),
            }),
            limit => Ok(limit.map(|limit| plan.shares(limit))),
        }
    }

    /// The same for a model that generates text.
    pub(crate) fn check_decoder(
        &self,
        opened: &models::decoder::Opened,
        plan: decoder::Plan,
    ) -> Result<(), Unfit> {
        match &opened.package {
            Some(package) => self.check_quality(Some(package), Purpose::Decoder)?,
            None if opened.is_quantized() => self.check_unrecorded()?,
            None => {}
        }
        match self.memory_limit.filter(|limit| plan.total() > *limit) {
            Some(limit) => Err(Unfit::DecoderTooLarge {
                plan,
                limit,
                alternatives: plan.alternatives(limit),
            }),
            None => Ok(()),
        }
    }

    /// The same for a sequence-to-sequence model.
    pub(crate) fn check_seq2seq(
        &self,
        package: Option<&Package>,
        plan: seq2seq::Plan,
    ) -> Result<(), Unfit> {
        self.check_quality(package, Purpose::Seq2Seq)?;
        match self.memory_limit.filter(|limit| plan.total() > *limit) {
            Some(limit) => Err(Unfit::Seq2SeqTooLarge {
                plan,
                limit,
                alternatives: plan.alternatives(limit),
            }),
            None => Ok(()),
        }
    }

    /// Of a file that others quantized nothing is recorded.
    fn check_unrecorded(&self) -> Result<(), Unfit> {
        for Limit {
            name,
            applies,
            limit,
            ..
        } in self.limits()
        {
            match limit {
                None => {}
                Some(_) if applies(Purpose::Decoder) => {
                    return Err(Unfit::NoRecord { floor: name });
                }
                Some(_) => {
                    let task = Purpose::Decoder.name();
                    return Err(Unfit::FloorDoesNotApply { floor: name, task });
                }
            }
        }
        Ok(())
    }

    /// After the first computation: an estimate may err.
    pub fn check_held(&self) -> Result<(), Unfit> {
        let held = memory::resident().map(Bytes);
        match (held, self.memory_limit) {
            (Some(held), Some(limit)) if held > limit => Err(Unfit::HoldsTooMuch { held, limit }),
            _ => Ok(()),
        }
    }

    fn check_quality(&self, package: Option<&Package>, purpose: Purpose<'_>) -> Result<(), Unfit> {
        let Some(package) = package else {
            return Ok(());
        };
        for Limit {
            name,
            applies,
            limit,
            found,
        } in self.limits()
        {
            let Some(limit) = limit else { continue };
            if !applies(purpose) {
                let task = purpose.name();
                return Err(Unfit::FloorDoesNotApply { floor: name, task });
            }
            let missing = Unfit::NoRecord { floor: name };
            let quality = package.quality.as_ref().ok_or(missing)?;
            if quality.model_sha256 != package.sha256 {
                return Err(Unfit::OtherRecord);
            }
            if quality.inputs < LEAST_INPUTS {
                return Err(Unfit::ThinRecord {
                    inputs: quality.inputs,
                });
            }
            let found = found(quality).ok_or(Unfit::NoRecord { floor: name })?;
            let met = match name.starts_with("max_") {
                true => found <= limit,
                false => found >= limit,
            };
            if !met {
                return Err(Unfit::BelowFloor {
                    floor: name,
                    limit,
                    found,
                });
            }
        }
        Ok(())
    }

    fn limits(&self) -> [Limit; 8] {
        [
            Limit {
                name: "min_cosine",
                applies: |purpose| matches!(purpose, Purpose::Encoder(Task::Embedding { .. })),
                limit: self.quality.min_cosine,
                found: |record| record.cosine.map(|cosine| cosine.min),
            },
            Limit {
                name: "min_spearman",
                applies: |purpose| match purpose {
                    Purpose::Encoder(task) => !matches!(task, Task::Classification { .. }),
                    Purpose::Decoder | Purpose::Seq2Seq => false,
                },
                limit: self.quality.min_spearman,
                found: |record| record.spearman,
            },
            Limit {
                name: "min_agreement",
                applies: |purpose| matches!(purpose, Purpose::Encoder(Task::Classification { .. })),
                limit: self.quality.min_agreement,
                found: |record| record.agreement,
            },
            Limit {
                name: "min_exact_match",
                applies: |purpose| matches!(purpose, Purpose::Seq2Seq),
                limit: self.quality.min_exact_match,
                found: |record| record.exact_match,
            },
            Limit {
                name: "min_chrf",
                applies: |purpose| matches!(purpose, Purpose::Seq2Seq),
                limit: self.quality.min_chrf,
                found: |record| record.chrf,
            },
            Limit {
                name: "min_same_top",
                applies: |purpose| matches!(purpose, Purpose::Decoder),
                limit: self.quality.min_same_top,
                found: |record| record.same_top,
            },
            Limit {
                name: "max_kl_divergence",
                applies: |purpose| matches!(purpose, Purpose::Decoder),
                limit: self.quality.max_kl_divergence,
                found: |record| record.kl_divergence,
            },
            Limit {
                name: "max_perplexity_ratio",
                applies: |purpose| matches!(purpose, Purpose::Decoder),
                limit: self.quality.max_perplexity_ratio,
                found: |record| record.perplexity_ratio,
            },
        ]
    }
}

/// What a model with a record is for.
#[derive(Clone, Copy)]
enum Purpose<'a> {
    Encoder(&'a Task),
    Decoder,
    Seq2Seq,
}

impl Purpose<'_> {
    fn name(self) -> &'static str {
        match self {
            Purpose::Encoder(task) => task.name(),
            Purpose::Decoder => "model that generates text",
            Purpose::Seq2Seq => "sequence-to-sequence model",
        }
    }
}

/// A limit, the models that have it, and where a record says what was found. What is named `max_` is
/// the most, all else the least.
struct Limit {
    name: &'static str,
    applies: fn(Purpose<'_>) -> bool,
    limit: Option<f64>,
    found: fn(&Quality) -> Option<f64>,
}
