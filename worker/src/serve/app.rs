//! What the worker's parts share: one value, made at start, handed to each of them.

use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::PrometheusHandle;
use tidegate_config::Tokens;
use tidegate_wire::WorkerState;

use super::admission::Admission;
use super::error::ApiError;
use super::lanes::Intake;
use super::lifecycle::Lifecycle;
use super::metrics::Gauges;
use crate::config::LimitsConfig;
use crate::model::TextTokenizer;

pub struct App {
    /// The model id that clients name.
    pub name: String,
    /// Unix seconds of the start.
    pub created: u64,
    pub limits: LimitsConfig,
    pub tokens: Option<Tokens>,
    pub admission: Arc<Admission>,
    pub intake: Arc<Intake>,
    pub life: Lifecycle,
    pub metrics: PrometheusHandle,
    /// There once the model is loaded.
    pub tokenizer: OnceLock<TextTokenizer>,
}

impl App {
    /// The tokenizer of the loaded model.
    pub fn tokenizer(&self) -> Result<&TextTokenizer, ApiError> {
        self.tokenizer
            .get()
            .ok_or_else(|| ApiError::not_ready(word(WorkerState::Warming)))
    }

    pub fn gauges(&self) -> Gauges {
        Gauges {
            slots: self.admission.limit(),
            busy: self.admission.busy(),
            queue: self.intake.waiting(),
            state: self.life.state(),
        }
    }
}

/// The state in a sentence.
pub fn word(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Warming => "warming up",
        WorkerState::Ready => "ready",
        WorkerState::Draining => "draining",
    }
}
