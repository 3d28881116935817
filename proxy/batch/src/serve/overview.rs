//! How far all batches are, for the status page. It shows no content and no key, and needs no key, as
//! with `/metrics`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use tidegate_protocol::{BatchProgress, BatchesReport};

use super::error::ApiError;
use super::http::App;
use super::owner::key_name;
use crate::ask::CLASS;
use crate::clock::unix_seconds;
use crate::store::Batch;

/// A rate is that of so long a time.
const RATE_SPAN: Duration = Duration::from_secs(30);

/// Looks that are closer together count as one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Batches of a report. Those behind them wait for their turn anyway.
const MOST_REPORTED: usize = 200;

/// What is remembered from one report to the next.
#[derive(Default)]
pub struct Overview {
    seen: Mutex<HashMap<String, Seen>>,
}

/// One batch.
#[derive(Clone, Default)]
struct Seen {
    model: Option<String>,
    looks: Looks,
}

/// How many lines had an answer, and when; oldest first.
#[derive(Clone, Default)]
struct Looks(VecDeque<(Instant, u32)>);

pub async fn report(State(app): State<Arc<App>>) -> Result<Json<BatchesReport>, ApiError> {
    let backlog = app.backing.backlog().await?;
    let mut all = app.backing.all_batches().await?;
    all.truncate(MOST_REPORTED);
    let mut batches = Vec::new();
    for (owner, batch) in &all {
        if app.overview.is_new(&batch.id) {
            let model = app.backing.model(batch).await;
            app.overview.add(&batch.id, model);
        }
        let key = key_name(owner, app.keys.as_deref());
        batches.push(app.overview.progress(Instant::now(), batch, key));
    }
    app.overview.forget_others(&all);
    let gate = app.backing.gate();
    let in_flight = gate.in_flight() as u64;
    Ok(Json(BatchesReport {
        class: CLASS.to_owned(),
        lines_waiting: backlog.lines.saturating_sub(in_flight),
        lines_in_flight: in_flight,
        oldest_ms: (backlog.batches > 0).then_some(backlog.oldest_seconds * 1000),
        held: gate.is_held(),
        batches,
    }))
}

impl Overview {
    fn is_new(&self, id: &str) -> bool {
        !self.seen().contains_key(id)
    }

    fn add(&self, id: &str, model: Option<String>) {
        let looks = Looks::default();
        self.seen().insert(id.to_owned(), Seen { model, looks });
    }

    fn progress(&self, now: Instant, batch: &Batch, key: Option<String>) -> BatchProgress {
        let mut all = self.seen();
        let seen = all.entry(batch.id.clone()).or_default();
        let counts = batch.request_counts;
        let answered = counts.completed + counts.failed;
        seen.looks.look(now, answered);
        let ended = batch.status.has_ended();
        let per_s = (!ended).then(|| seen.looks.per_s()).flatten();
        let left = f64::from(counts.total.saturating_sub(answered));
        BatchProgress {
            id: batch.id.clone(),
            endpoint: batch.endpoint.path().to_owned(),
            model: seen.model.clone(),
            key,
            status: batch.status.word().to_owned(),
            ended,
            lines: counts.total,
            done: counts.completed,
            failed: counts.failed,
            per_s,
            left_ms: per_s.map(|per_s| (left / per_s * 1000.0) as u64),
            age_ms: unix_seconds().saturating_sub(batch.created_at) * 1000,
        }
    }

    fn forget_others(&self, batches: &[(String, Batch)]) {
        let is_there = |id: &String| batches.iter().any(|(_, batch)| batch.id == *id);
        self.seen().retain(|id, _| is_there(id));
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Looks {
    fn look(&mut self, now: Instant, answered: u32) {
        // The newest look is replaced while it is too close to the one before it.
        let newest = self.0.len().saturating_sub(1);
        if newest > 0 && self.0[newest].0.duration_since(self.0[newest - 1].0) < LOOK_EVERY {
            self.0.pop_back();
        }
        self.0.push_back((now, answered));
        while self.0.len() > 2 && now.duration_since(self.0[0].0) > RATE_SPAN {
            self.0.pop_front();
        }
    }

    /// `None` until two looks lie far enough apart, and while no line is answered.
    fn per_s(&self) -> Option<f64> {
        let ((first, before), (last, answered)) = (self.0.front()?, self.0.back()?);
        let seconds = last.duration_since(*first);
        let lines = answered.saturating_sub(*before);
        (seconds >= LOOK_EVERY && lines > 0).then(|| f64::from(lines) / seconds.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_half_minute() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut looks = Looks::default();
        looks.look(at(0), 10);
        looks.look(at(500), 15);
        assert_eq!(looks.per_s(), None);
        looks.look(at(2000), 50);
        assert_eq!(looks.per_s(), Some(20.0));
        for second in 3..60 {
            looks.look(at(second * 1000), 50 + 4 * (second as u32 - 2));
            looks.look(at(second * 1000 + 100), 50 + 4 * (second as u32 - 2));
        }
        let lately = looks.per_s().expect("lines were answered");
        assert!((3.9..4.1).contains(&lately), "{lately}");
        assert!(looks.0.len() < 40, "{}", looks.0.len());
    }
}
