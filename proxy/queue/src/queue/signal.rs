//! A queue's part of the signal: sums over all classes, and each class by itself.

use tidegate_protocol::{ClassSignal, ModelSignal};

use super::Queue;
use crate::Moment;

impl Queue {
    /// The counters of this queue and its gauges at `now`.
    pub fn signal(&self, now: Moment, model: &str) -> ModelSignal {
        let mut signal = ModelSignal {
            model: model.to_owned(),
            ..ModelSignal::default()
        };
        for class in 0..self.classes.len() {
            if !self.classes[class].record.is_used() {
                continue;
            }
            let class = self.class_signal(now, class);
            signal.add(&class);
            signal.classes.push(class);
        }
        signal
    }

    fn class_signal(&self, now: Moment, class: usize) -> ClassSignal {
        let age_ms = |since: Moment| now.saturating_sub(since).as_millis() as u64;
        let held = &self.classes[class];
        let oldest = held.first().and_then(|ticket| self.requests.get(&ticket));
        ClassSignal {
            waiting: held.waiting() as u64,
            waiting_bytes: held.bytes,
            waiting_cost: held.cost,
            in_flight: held.in_flight as u64,
            oldest_waiting_ms: oldest.map(|request| age_ms(request.ask.arrived)),
            oldest_running_ms: held.running.oldest().map(age_ms),
            ..held.record.signal(&self.config.classes[class].name)
        }
    }
}
