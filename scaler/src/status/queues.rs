//! The queues by model and class, over all proxies, as their signals say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_protocol::{ClassSignal, ModelSignal};

use crate::proxies::Reply;

/// One class of a model's queue. What ends in `_total` is counted since the proxies started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueView {
    pub model: String,
    /// Empty where the proxies know no classes.
    pub class: String,
    pub waiting: u64,
    pub in_flight: u64,
    pub oldest_waiting_ms: Option<u64>,
    pub arrivals_total: u64,
    pub answered_total: u64,
    /// Not let in, or not served in time.
    pub refused_total: u64,
    pub failed_total: u64,
    pub aborted_total: u64,
}

/// The queues of this model, or of all, in the order of their models and classes.
pub fn queues(replies: &[Reply], model: Option<&str>) -> Vec<QueueView> {
    let mut queues: BTreeMap<(String, String), QueueView> = BTreeMap::new();
    let signals = replies
        .iter()
        .filter_map(|reply| reply.signal.as_ref().ok());
    let models = signals.flat_map(|signal| &signal.models);
    for signal in models.filter(|signal| model.is_none_or(|model| model == signal.model)) {
        for class in classes(signal) {
            let name = (signal.model.clone(), class.class.clone());
            let queue = queues.entry(name.clone()).or_insert_with(|| QueueView {
                model: name.0,
                class: name.1,
                ..QueueView::default()
            });
            queue.add(&class);
        }
    }
    queues.into_values().collect()
}

/// The classes that had a request; one without a name where the proxy tells none apart.
fn classes(signal: &ModelSignal) -> Vec<ClassSignal> {
    if !signal.classes.is_empty() {
        return signal.classes.clone();
    }
    vec![ClassSignal {
        arrivals_total: signal.arrivals_total,
        answered_total: signal.answered_total,
        failed_total: signal.failed_total,
        shed_total: signal.shed_total,
        expired_total: signal.expired_total,
        aborted_total: signal.aborted_total,
        waiting: signal.waiting,
        in_flight: signal.in_flight,
        oldest_waiting_ms: signal.oldest_waiting_ms,
        ..ClassSignal::default()
    }]
}

impl QueueView {
    fn add(&mut self, class: &ClassSignal) {
        self.waiting += class.waiting;
        self.in_flight += class.in_flight;
        self.oldest_waiting_ms = self.oldest_waiting_ms.max(class.oldest_waiting_ms);
        self.arrivals_total += class.arrivals_total;
        self.answered_total += class.answered_total;
        self.refused_total += class.shed_total + class.expired_total;
        self.failed_total += class.failed_total;
        self.aborted_total += class.aborted_total;
    }
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::Signal;

    use super::*;
    use crate::proxies::ProxyFault;

    fn model(name: &str, waiting: u64, classes: &[(&str, u64)]) -> ModelSignal {
        let class = |(name, waiting): &(&str, u64)| ClassSignal {
            class: (*name).to_owned(),
            waiting: *waiting,
            shed_total: 1,
            expired_total: 2,
            oldest_waiting_ms: Some(waiting * 10),
            ..ClassSignal::default()
        };
        ModelSignal {
            model: name.to_owned(),
            waiting,
            classes: classes.iter().map(class).collect(),
            ..ModelSignal::default()
        }
    }

    fn reply(models: Vec<ModelSignal>) -> Reply {
        let signal = Signal {
            models,
            ..Signal::default()
        };
        Reply {
            source: String::new(),
            signal: Ok(signal),
        }
    }

    #[test]
    fn proxies_add_up_by_model_and_class() {
        let replies = [
            reply(vec![model("a", 5, &[("chat", 2), ("batch", 3)])]),
            reply(vec![model("a", 4, &[("batch", 4)]), model("b", 1, &[])]),
            Reply {
                source: String::new(),
                signal: Err(ProxyFault::Token),
            },
        ];
        let found = |model| -> Vec<(String, String, u64, u64, Option<u64>)> {
            let queues = queues(&replies, model).into_iter();
            let row = |queue: QueueView| {
                let oldest = queue.oldest_waiting_ms;
                let (waiting, refused) = (queue.waiting, queue.refused_total);
                (queue.model, queue.class, waiting, refused, oldest)
            };
            queues.map(row).collect()
        };
        let row = |model: &str, class: &str, waiting, refused, oldest| {
            (model.to_owned(), class.to_owned(), waiting, refused, oldest)
        };
        let of_a = vec![
            row("a", "batch", 7, 6, Some(40)),
            row("a", "chat", 2, 3, Some(20)),
        ];
        assert_eq!(found(Some("a")), of_a);
        assert_eq!(found(None)[2], row("b", "", 1, 0, None));
    }
}
