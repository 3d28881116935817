//! What the batch service says of its batches, for the status page; no decision depends on it.

use std::time::Duration;

use reqwest::Client;
use serde::{Deserialize, Serialize};
use tidegate_protocol::{BATCHES_PATH, BatchesReport};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::http;

const ASK_EVERY: Duration = Duration::from_secs(2);
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// A larger report is not read.
const LARGEST_REPORT: usize = 4 << 20;

/// The batch service, as the page shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchesView {
    pub address: String,
    /// Whether it answered when it was last asked.
    pub up: bool,
    /// Why it is not up.
    pub why: Option<String>,
    /// What it answered; nothing is known while it is not up.
    pub report: Option<BatchesReport>,
}

/// Asks the batch service regularly.
pub struct Batches {
    url: String,
    client: Client,
    latest: watch::Sender<BatchesView>,
}

impl Batches {
    /// The service at this base URL.
    pub fn new(base: &str) -> Batches {
        let waiting = BatchesView {
            address: base.to_owned(),
            why: Some("it was not asked yet".to_owned()),
            ..BatchesView::default()
        };
        Batches {
            url: format!("{base}{BATCHES_PATH}"),
            client: http::client(),
            latest: watch::Sender::new(waiting),
        }
    }

    pub fn latest(&self) -> BatchesView {
        self.latest.borrow().clone()
    }

    /// Asks until it is dropped.
    pub async fn follow(&self) {
        let mut times = interval(ASK_EVERY);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            let answer = tokio::time::timeout(ASK_LIMIT, self.ask()).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {ASK_LIMIT:?}")));
            self.latest.send_modify(|view| {
                view.up = answer.is_ok();
                (view.report, view.why) = match answer {
                    Ok(report) => (Some(report), None),
                    Err(why) => (None, Some(why)),
                };
            });
        }
    }

    async fn ask(&self) -> Result<BatchesReport, String> {
        let answer = self.client.get(&self.url).send().await;
        let mut answer = answer.map_err(|error| reason(&error))?;
        if !answer.status().is_success() {
            return Err(format!("it answered with {}", answer.status()));
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| reason(&error))? {
            if body.len() + piece.len() > LARGEST_REPORT {
                return Err(format!("its report is larger than {LARGEST_REPORT} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        serde_json::from_slice(&body).map_err(|error| format!("its report cannot be read: {error}"))
    }
}

/// The last cause, which says most: the first only says that the request failed.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
