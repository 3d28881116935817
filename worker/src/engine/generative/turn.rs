//! The thread that computes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use tidegate_agent::Slot;
use tokio::sync::mpsc::Sender;
use tracing::error;

use super::{Delta, End, Model, Numbers, Piece, Task};
use crate::engine::{Event, Failure, Usage};
use crate::metrics;
use crate::trace;

/// A request on its way.
pub(super) struct Job<M: Model> {
    tasks: Vec<M::Task>,
    events: Sender<Event<Piece<M::Delta>>>,
    deadline: Option<Instant>,
    /// Given back when the job is dropped.
    slot: Slot,
    submitted: Instant,
    begun: Option<Instant>,
    /// Answers that have not ended.
    left: usize,
    usage: Usage,
    /// When the last token of each answer came.
    last: HashMap<usize, Instant>,
}

impl<M: Model> Job<M> {
    pub fn new(
        tasks: Vec<M::Task>,
        events: Sender<Event<Piece<M::Delta>>>,
        deadline: Option<Instant>,
        slot: Slot,
        now: Instant,
    ) -> Job<M> {
        Job {
            left: tasks.len(),
            events,
            deadline,
            slot,
            submitted: now,
            begun: None,
            usage: Usage {
                read: tasks.iter().map(Task::prompt).sum(),
                ..Usage::default()
            },
            tasks,
            last: HashMap::new(),
        }
    }

    /// The channel has room for every event of a request, so that nothing is ever refused but by a
    /// reader that has left.
    fn tell(&self, event: Event<Piece<M::Delta>>) {
        let _ = self.events.try_send(event);
    }
}

/// All that the thread holds.
pub(super) struct Turn<M: Model> {
    model: M,
    incoming: Receiver<Job<M>>,
    jobs: HashMap<u64, Job<M>>,
    /// The job and the choice that a sequence belongs to.
    owners: HashMap<u64, (u64, usize)>,
    next: u64,
    numbers: Arc<Numbers>,
}

impl<M: Model> Turn<M> {
    pub fn new(model: M, incoming: Receiver<Job<M>>, numbers: Arc<Numbers>) -> Turn<M> {
        Turn {
            model,
            incoming,
            jobs: HashMap::new(),
            owners: HashMap::new(),
            next: 0,
            numbers,
        }
    }

    /// Until the engine is closed and nothing is left to do.
    pub fn run(mut self) {
        loop {
            if self.model.is_idle() {
                self.numbers.set(0, self.model.load().pages_used);
                match self.incoming.recv() {
                    Ok(job) => self.take(job),
                    Err(_) => return,
                }
            }
            while let Ok(job) = self.incoming.try_recv() {
                self.take(job);
            }
            let now = Instant::now();
            self.drop_unwanted(now);
            self.admit(now);
            self.step();
        }
    }

    fn take(&mut self, mut job: Job<M>) {
        let id = self.next;
        self.next += 1;
        let tasks = std::mem::take(&mut job.tasks);
        self.jobs.insert(id, job);
        for (choice, task) in tasks.into_iter().enumerate() {
            let sequence = self.next;
            self.next += 1;
            if let Err(problem) = self.model.add(sequence, task) {
                self.end(id, Event::Failed(Failure::Compute(problem)));
                return;
            }
            self.owners.insert(sequence, (id, choice));
        }
    }

    /// Forgets requests whose clients have left, and those that were not begun in time.
    fn drop_unwanted(&mut self, now: Instant) {
        let late = |job: &Job<M>| job.begun.is_none() && job.deadline.is_some_and(|end| end <= now);
        let unwanted =
            |(id, job): (&u64, &Job<M>)| (job.events.is_closed() || late(job)).then_some(*id);
        let gone: Vec<u64> = self.jobs.iter().filter_map(unwanted).collect();
        for id in gone {
            self.end(id, Event::Failed(Failure::Expired));
        }
    }

    /// Ends a request: its sequences leave, its slot is free.
    fn end(&mut self, id: u64, last: Event<Piece<M::Delta>>) {
        let sequences = self.owners.iter().filter(|(_, owner)| owner.0 == id);
        let sequences: Vec<u64> = sequences.map(|(sequence, _)| *sequence).collect();
        for sequence in sequences {
            self.owners.remove(&sequence);
            self.model.remove(sequence);
        }
        if let Some(job) = self.jobs.remove(&id) {
            if job.begun.is_none() {
                self.numbers.begun_or_gone();
            }
            job.tell(last);
        }
    }

    fn admit(&mut self, now: Instant) {
        for admitted in self.model.admit() {
            let Some(&(id, choice)) = self.owners.get(&admitted.sequence) else {
                continue;
            };
            let Some(job) = self.jobs.get_mut(&id) else {
                continue;
            };
            if job.begun.is_none() {
                job.begun = Some(now);
                job.usage.waited = now - job.submitted;
                self.numbers.begun_or_gone();
                metrics::generation_begun(job.usage.waited);
                job.tell(Event::Started);
            }
            if let Some(prompt) = admitted.prompt {
                metrics::prompt_known(prompt.tokens, prompt.reused);
                job.tell(Event::Output(Piece {
                    choice,
                    reused: prompt.reused,
                    delta: M::Delta::default(),
                }));
            }
        }
    }

    fn step(&mut self) {
        let before = self.model.load();
        let stepped = self.model.step();
        let now = Instant::now();
        match stepped {
            Ok(deltas) => {
                for (sequence, delta) in deltas {
                    self.deliver(sequence, delta, now);
                }
            }
            Err(problem) => {
                error!(%problem, "a step failed; the answers under way end");
                let all: Vec<u64> = self.jobs.keys().copied().collect();
                for id in all {
                    self.end(id, Event::Failed(Failure::Compute(problem.clone())));
                }
            }
        }
        let after = self.model.load();
        metrics::generated(after.read - before.read, after.written - before.written);
        self.numbers.set(after.running, after.pages_used);
    }

    fn deliver(&mut self, sequence: u64, delta: M::Delta, now: Instant) {
        let Some(&(id, choice)) = self.owners.get(&sequence) else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if delta.written() > 0 {
            match job.last.insert(choice, now) {
                None => metrics::first_token(now - job.submitted),
                Some(before) => metrics::next_token(now - before),
            }
        }
        job.usage.written += delta.written();
        let end = delta.end();
        job.tell(Event::Output(Piece {
            choice,
            reused: 0,
            delta,
        }));
        match end {
            None => {}
            Some(End::Failed(problem)) => {
                self.end(id, Event::Failed(Failure::Compute(problem)));
            }
            Some(End::Finished(reason)) => {
                metrics::answered(reason, now - job.submitted);
                self.owners.remove(&sequence);
                job.left -= 1;
                if job.left == 0 {
                    job.usage.computed =
                        job.begun.map_or_else(Default::default, |begun| now - begun);
                    let usage = job.usage;
                    trace::computed(job.slot.trace(), &usage, None);
                    self.end(id, Event::Finished(usage));
                }
            }
        }
    }
}
