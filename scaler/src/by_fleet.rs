//! Several fleets in one process: what a fleet's task counts and logs is labelled with the
//! fleet's name. With one fleet there is no label.

use std::borrow::Cow;
use std::future::Future;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit,
};
use tracing::Instrument;

tokio::task_local! {
    /// Whose task this is.
    static FLEET: String;
}

/// Runs `task` as the task of this fleet, if it is one of several.
pub async fn of_fleet<F: Future>(fleet: Option<String>, task: F) -> F::Output {
    let Some(fleet) = fleet else {
        return task.await;
    };
    let span = tracing::info_span!("fleet", name = %fleet);
    FLEET.scope(fleet, task.instrument(span)).await
}

/// Whose task this is, for what it spawns.
pub fn current() -> Option<String> {
    FLEET.try_with(Clone::clone).ok()
}

/// A recorder that labels what a task counts with its fleet.
pub struct ByFleet<R>(pub R);

fn labelled(key: &Key) -> Cow<'_, Key> {
    current().map_or(Cow::Borrowed(key), |fleet| {
        Cow::Owned(key.with_extra_labels(vec![Label::new("fleet", fleet)]))
    })
}

impl<R: Recorder> Recorder for ByFleet<R> {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.0.register_counter(&labelled(key), metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.0.register_gauge(&labelled(key), metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.0.register_histogram(&labelled(key), metadata)
    }
}
