//! Metrics for Prometheus. The names are stable; docs/metrics.md describes them.
//!
//! Counters and gauges are copied from the signal at each scrape, so that both always agree; durations
//! are recorded as they happen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tidegate_protocol::{ClassSignal, Signal, WorkerState};

use crate::answers::Answers;

const REQUESTS: &str = "tidegate_requests_total";
const ARRIVALS: &str = "tidegate_arrivals_total";
const ANSWERS: &str = "tidegate_answers_total";
const RETRIES: &str = "tidegate_retries_total";
/// Counted where it happens.
pub const UNAUTHORIZED: &str = "tidegate_unauthorized_total";
const QUEUE_LENGTH: &str = "tidegate_queue_length";
const QUEUE_BYTES: &str = "tidegate_queue_bytes";
const QUEUE_COST: &str = "tidegate_queue_tokens";
const QUEUE_OLDEST: &str = "tidegate_queue_oldest_seconds";
const IN_FLIGHT: &str = "tidegate_in_flight";
const SLOTS: &str = "tidegate_slots";
const WORKERS: &str = "tidegate_workers";
const DURATION: &str = "tidegate_request_duration_seconds";
const QUEUE_WAIT: &str = "tidegate_queue_wait_seconds";
const ACCESS_DROPPED: &str = "tidegate_access_lines_dropped_total";

/// How often durations are folded into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Bounds of the histograms in seconds.
const BOUNDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];

/// Makes this process record metrics. To be called once.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&BOUNDS)?
        .install_recorder()?;
    describe_counter!(
        ARRIVALS,
        "Requests for this model whose body was read completely"
    );
    describe_counter!(REQUESTS, "Requests that ended, by outcome");
    describe_counter!(ANSWERS, "Answers to clients, by route and status");
    describe_counter!(RETRIES, "Attempts that were moved to another worker");
    describe_counter!(UNAUTHORIZED, "Requests without a valid client key");
    describe_gauge!(QUEUE_LENGTH, "Requests in the queue");
    describe_gauge!(QUEUE_BYTES, "Bytes of the bodies of requests in the queue");
    describe_gauge!(QUEUE_COST, "Estimated tokens of the requests in the queue");
    describe_gauge!(QUEUE_OLDEST, "Age of the oldest request in the queue");
    describe_gauge!(IN_FLIGHT, "Permits held");
    describe_gauge!(SLOTS, "Slots of the workers that accept requests");
    describe_gauge!(WORKERS, "Workers by state");
    describe_histogram!(DURATION, "From arrival to the end, whatever the outcome");
    describe_counter!(
        ACCESS_DROPPED,
        "Requests that are missing in the access log because its buffer was full"
    );
    describe_histogram!(QUEUE_WAIT, "From arrival to the first permit");
    Ok(handle)
}

/// Folds recorded durations into their buckets, which nothing else does while nobody scrapes.
pub async fn keep_small(handle: PrometheusHandle) {
    let mut interval = tokio::time::interval(UPKEEP);
    loop {
        interval.tick().await;
        handle.run_upkeep();
    }
}

/// The labels of a request's metrics.
#[derive(Clone, Debug)]
pub struct Labels {
    pub model: Arc<str>,
    pub class: Arc<str>,
}

/// Records the end of a request that had been let in.
pub fn request_ended(labels: &Labels, age: Duration) {
    let (model, class) = (Arc::clone(&labels.model), Arc::clone(&labels.class));
    histogram!(DURATION, "model" => model, "class" => class).record(age.as_secs_f64());
}

/// Records the first permit of a request.
pub fn request_waited(labels: &Labels, age: Duration) {
    let (model, class) = (Arc::clone(&labels.model), Arc::clone(&labels.class));
    histogram!(QUEUE_WAIT, "model" => model, "class" => class).record(age.as_secs_f64());
}

/// A request is missing in the access log.
pub fn access_line_dropped() {
    counter!(ACCESS_DROPPED).increment(1);
}

/// What was shown last, so that the gauges of a model that is gone do not stay where they were.
#[derive(Debug, Default)]
pub struct Published(BTreeSet<(String, String)>);

impl Published {
    /// Sets counters and gauges to what the signal says.
    pub fn publish(&mut self, signal: &Signal) {
        let mut gone = std::mem::take(&mut self.0);
        for model in &signal.models {
            publish_workers(signal, &model.model);
            for class in &model.classes {
                publish_counters(&model.model, class);
                publish_gauges(&model.model, class);
                let shown = (model.model.clone(), class.class.clone());
                gone.remove(&shown);
                self.0.insert(shown);
            }
        }
        for (model, class) in gone {
            publish_workers(signal, &model);
            let empty = ClassSignal {
                class,
                ..ClassSignal::default()
            };
            publish_gauges(&model, &empty);
        }
    }
}

/// Sets the counts of answers.
pub fn publish_answers(answers: &Answers) {
    for (route, status, count) in answers.counted() {
        let status = status.to_string();
        counter!(ANSWERS, "route" => route, "status" => status).absolute(count);
    }
}

fn publish_counters(model: &str, signal: &ClassSignal) {
    let labels = || [("model", model.to_owned()), ("class", signal.class.clone())];
    counter!(ARRIVALS, &labels()).absolute(signal.arrivals_total);
    counter!(RETRIES, &labels()).absolute(signal.retries_total);
    for (outcome, total) in [
        ("answered", signal.answered_total),
        ("failed", signal.failed_total),
        ("shed", signal.shed_total),
        ("expired", signal.expired_total),
        ("aborted", signal.aborted_total),
    ] {
        let [model, class] = labels();
        let labels = [model, class, ("outcome", outcome.to_owned())];
        counter!(REQUESTS, &labels).absolute(total);
    }
}

fn publish_gauges(model: &str, signal: &ClassSignal) {
    let labels = || [("model", model.to_owned()), ("class", signal.class.clone())];
    gauge!(QUEUE_LENGTH, &labels()).set(signal.waiting as f64);
    gauge!(QUEUE_BYTES, &labels()).set(signal.waiting_bytes as f64);
    gauge!(QUEUE_COST, &labels()).set(signal.waiting_cost as f64);
    gauge!(IN_FLIGHT, &labels()).set(signal.in_flight as f64);
    let oldest = signal.oldest_waiting_ms.unwrap_or(0) as f64 / 1000.0;
    gauge!(QUEUE_OLDEST, &labels()).set(oldest);
}

fn publish_workers(signal: &Signal, model: &str) {
    let workers = || signal.workers.iter().filter(|worker| worker.model == model);
    let slots: u64 = workers()
        .filter(|w| w.taking)
        .map(|w| u64::from(w.slots))
        .sum();
    gauge!(SLOTS, "model" => model.to_owned()).set(slots as f64);
    for (name, state) in [
        ("warming", WorkerState::Warming),
        ("ready", WorkerState::Ready),
        ("draining", WorkerState::Draining),
    ] {
        let count = workers().filter(|worker| worker.state == state).count();
        gauge!(WORKERS, "model" => model.to_owned(), "state" => name).set(count as f64);
    }
}
