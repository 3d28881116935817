//! One batch: what its client sees of it, and what it needs to go on after a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::unix_seconds;
use crate::input::Endpoint;
use crate::journal::Counts;
use crate::sagemaker::Invocation;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for its turn.
    Validating,
    InProgress,
    /// Every line has an answer; the files are being written.
    Finalizing,
    Completed,
    Failed,
    Expired,
    Cancelling,
    Cancelled,
}

/// As OpenAI's clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    pub id: String,
    pub object: String,
    pub endpoint: Endpoint,
    pub input_file_id: String,
    pub completion_window: String,
    pub status: Status,
    pub errors: Option<Faults>,
    pub output_file_id: Option<String>,
    pub error_file_id: Option<String>,
    pub created_at: u64,
    pub in_progress_at: Option<u64>,
    pub expires_at: u64,
    pub finalizing_at: Option<u64>,
    pub completed_at: Option<u64>,
    pub failed_at: Option<u64>,
    pub expired_at: Option<u64>,
    pub cancelling_at: Option<u64>,
    pub cancelled_at: Option<u64>,
    pub request_counts: RequestCounts,
    pub metadata: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    pub total: u32,
    pub completed: u32,
    pub failed: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Faults {
    pub object: String,
    pub data: Vec<Fault>,
}

/// Why a batch failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    pub code: String,
    pub message: String,
    pub line: Option<u32>,
    pub param: Option<String>,
}

/// The row of a batch: the batch, and what its client does not see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub batch: Batch,
    /// How it will have ended once its files are written.
    pub ending: Option<Status>,
    /// Its files are removed after so many seconds.
    pub keep_seconds: u64,
    /// It is one request of a client that comes back for the answer, and no file of its own.
    #[serde(default)]
    pub is_deferred: bool,
    /// The answer of that request goes to S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<Invocation>,
}

impl Status {
    /// Whether nothing more is to be done.
    pub fn has_ended(self) -> bool {
        use Status::{Cancelled, Completed, Expired, Failed};
        matches!(self, Completed | Failed | Expired | Cancelled)
    }

    pub fn word(self) -> &'static str {
        match self {
            Status::Validating => "validating",
            Status::InProgress => "in_progress",
            Status::Finalizing => "finalizing",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Expired => "expired",
            Status::Cancelling => "cancelling",
            Status::Cancelled => "cancelled",
        }
    }
}

impl Batch {
    /// Moves it on, with the time.
    pub fn set_status(&mut self, status: Status) {
        let now = Some(unix_seconds());
        self.status = status;
        match status {
            Status::Validating => {}
            Status::InProgress => self.in_progress_at = self.in_progress_at.or(now),
            Status::Finalizing => self.finalizing_at = self.finalizing_at.or(now),
            Status::Completed => self.completed_at = now,
            Status::Failed => self.failed_at = now,
            Status::Expired => self.expired_at = now,
            Status::Cancelling => self.cancelling_at = now,
            Status::Cancelled => self.cancelled_at = now,
        }
    }

    pub fn count(&mut self, counts: Counts) {
        self.request_counts.completed = counts.output;
        self.request_counts.failed = counts.error;
    }

    /// Records why it failed.
    pub fn blame(&mut self, code: &str, message: String) {
        let fault = Fault {
            code: code.to_owned(),
            message,
            line: None,
            param: None,
        };
        self.errors = Some(Faults {
            object: "list".to_owned(),
            data: vec![fault],
        });
    }
}
