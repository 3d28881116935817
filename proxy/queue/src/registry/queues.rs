//! The queues by model. One exists while its model is configured, a worker of it is known, or a
//! request is in it; otherwise its name is unknown again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Moment, Queue, QueueConfig};

/// Names a model's queue on its registry. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueId(u64);

/// Why a request's model names no queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSuchModel {
    /// No worker serves it and no config names it.
    Unknown,
    /// The request names none and there are several.
    Ambiguous,
    /// The request names none and none is known yet.
    NoneYet,
}

#[derive(Clone, Debug)]
pub(super) struct ModelQueue {
    pub model: Arc<str>,
    pub queue: Queue,
    pub began: Moment,
    is_configured: bool,
    /// Workers that are known, and those of them that are not leaving.
    pub workers: usize,
    pub staying: usize,
}

impl ModelQueue {
    fn is_needed(&self) -> bool {
        let requests = self.queue.waiting() + self.queue.in_flight();
        self.is_configured || self.workers > 0 || requests > 0
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queues {
    by_id: BTreeMap<QueueId, ModelQueue>,
    by_model: BTreeMap<Arc<str>, QueueId>,
    last: u64,
}

impl Queues {
    pub fn add_configured(&mut self, config: &Arc<QueueConfig>, model: &str) {
        let id = self.find_or_add(Moment::ZERO, config, model);
        if let Some(queue) = self.get_mut(id) {
            queue.is_configured = true;
        }
    }

    pub fn find_or_add(&mut self, now: Moment, config: &Arc<QueueConfig>, model: &str) -> QueueId {
        if let Some(id) = self.find(model) {
            return id;
        }
        self.last += 1;
        let (id, model) = (QueueId(self.last), Arc::<str>::from(model));
        let queue = ModelQueue {
            model: Arc::clone(&model),
            queue: Queue::new(Arc::clone(config)),
            began: now,
            is_configured: false,
            workers: 0,
            staying: 0,
        };
        self.by_id.insert(id, queue);
        self.by_model.insert(model, id);
        id
    }

    pub fn find(&self, model: &str) -> Option<QueueId> {
        self.by_model.get(model).copied()
    }

    /// The queue of a request that names this model, or none. Without a name it is the only
    /// queue, or the only one that workers serve which are not leaving. Before any model is known,
    /// as after a restart, none is refused for good.
    pub fn of_request(&self, model: Option<&str>) -> Result<QueueId, NoSuchModel> {
        if self.by_id.is_empty() {
            return Err(NoSuchModel::NoneYet);
        }
        if let Some(model) = model {
            return self.find(model).ok_or(NoSuchModel::Unknown);
        }
        let only = |served: bool| {
            let mut queues = (self.by_id.iter()).filter(|(_, it)| !served || it.staying > 0);
            let first = queues.next().map(|(id, _)| *id);
            first.filter(|_| queues.next().is_none())
        };
        only(false)
            .or_else(|| only(true))
            .ok_or(NoSuchModel::Ambiguous)
    }

    pub fn get(&self, id: QueueId) -> Option<&ModelQueue> {
        self.by_id.get(&id)
    }

    pub fn get_mut(&mut self, id: QueueId) -> Option<&mut ModelQueue> {
        self.by_id.get_mut(&id)
    }

    /// In the order in which they became known.
    pub fn iter(&self) -> impl Iterator<Item = &ModelQueue> {
        self.by_id.values()
    }

    pub fn remove_unneeded(&mut self, id: QueueId) {
        if self.get(id).is_some_and(|queue| !queue.is_needed())
            && let Some(queue) = self.by_id.remove(&id)
        {
            self.by_model.remove(&queue.model);
        }
    }
}
