//! The thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use tidegate_agent::Slot;
use tidegate_seq2seq::{Delta, Finish, Limits, Scheduler, Task, Words};
use tokio::sync::mpsc::Sender;
use tracing::error;

use super::Piece;
use super::network::Network;
use crate::engine::numbers::Numbers;
use crate::engine::{Event, Failure, Usage};
use crate::metrics;

/// A request on its way.
pub(super) struct Job {
    tasks: Vec<Task>,
    events: Sender<Event<Piece>>,
    deadline: Option<Instant>,
    /// Given back when the job is dropped.
    _slot: Slot,
    submitted: Instant,
    begun: Option<Instant>,
    /// Texts that have not ended.
    left: usize,
    usage: Usage,
    /// When the last token of each text came.
    last: HashMap<usize, Instant>,
}

impl Job {
    pub fn new(
        tasks: Vec<Task>,
        events: Sender<Event<Piece>>,
        deadline: Option<Instant>,
        slot: Slot,
        now: Instant,
    ) -> Job {
        Job {
            left: tasks.len(),
            usage: Usage {
                read: tasks.iter().map(|task| task.source.len()).sum(),
                ..Usage::default()
            },
            tasks,
            events,
            deadline,
            _slot: slot,
            submitted: now,
            begun: None,
            last: HashMap::new(),
        }
    }

    /// The channel has room for every event of a request, so that nothing is ever refused but by a
    /// reader that has left.
    fn tell(&self, event: Event<Piece>) {
        let _ = self.events.try_send(event);
    }
}

/// All that the thread holds.
pub(super) struct Turn {
    network: Network,
    scheduler: Scheduler,
    incoming: Receiver<Job>,
    jobs: HashMap<u64, Job>,
    /// The job and the choice that a task belongs to.
    owners: HashMap<u64, (u64, usize)>,
    next: u64,
    numbers: Arc<Numbers>,
}

impl Turn {
    pub fn new(
        network: Network,
        words: Words,
        limits: Limits,
        incoming: Receiver<Job>,
        numbers: Arc<Numbers>,
    ) -> Turn {
        Turn {
            network,
            scheduler: Scheduler::new(limits, words),
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
            if self.scheduler.is_idle() {
                self.numbers.set(0, self.scheduler.pages_used());
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

    fn take(&mut self, mut job: Job) {
        let id = self.next;
        self.next += 1;
        let tasks = std::mem::take(&mut job.tasks);
        self.jobs.insert(id, job);
        for (choice, task) in tasks.into_iter().enumerate() {
            let name = self.next;
            self.next += 1;
            if self.scheduler.add(name, task).is_err() {
                let problem = "a text is too large for this worker".to_owned();
                self.end(id, Event::Failed(Failure::Compute(problem)));
                return;
            }
            self.owners.insert(name, (id, choice));
        }
    }

    /// Forgets requests whose clients have left, and those that were not begun in time.
    fn drop_unwanted(&mut self, now: Instant) {
        let late = |job: &Job| job.begun.is_none() && job.deadline.is_some_and(|end| end <= now);
        let unwanted =
            |(id, job): (&u64, &Job)| (job.events.is_closed() || late(job)).then_some(*id);
        let gone: Vec<u64> = self.jobs.iter().filter_map(unwanted).collect();
        for id in gone {
            self.end(id, Event::Failed(Failure::Expired));
        }
    }

    /// Ends a request: its texts leave, its slot is free.
    fn end(&mut self, id: u64, last: Event<Piece>) {
        let tasks = self.owners.iter().filter(|(_, owner)| owner.0 == id);
        let tasks: Vec<u64> = tasks.map(|(task, _)| *task).collect();
        for task in tasks {
            self.owners.remove(&task);
            self.scheduler.remove(task);
        }
        if let Some(job) = self.jobs.remove(&id) {
            if job.begun.is_none() {
                self.numbers.begun_or_gone();
            }
            job.tell(last);
        }
    }

    fn admit(&mut self, now: Instant) {
        for task in self.scheduler.admit() {
            let owner = self.owners.get(&task);
            let Some(job) = owner.and_then(|(id, _)| self.jobs.get_mut(id)) else {
                continue;
            };
            if job.begun.is_none() {
                job.begun = Some(now);
                job.usage.waited = now - job.submitted;
                self.numbers.begun_or_gone();
                metrics::generation_begun(job.usage.waited);
                job.tell(Event::Started);
            }
        }
    }

    fn step(&mut self) {
        let before = self.scheduler.totals();
        let stepped = self.scheduler.step(&mut self.network);
        let now = Instant::now();
        match stepped {
            Ok(deltas) => {
                for (task, delta) in deltas {
                    self.deliver(task, delta, now);
                }
            }
            Err(problem) => {
                error!(%problem, "a step failed; the texts under way end");
                let all: Vec<u64> = self.jobs.keys().copied().collect();
                for id in all {
                    let failure = Failure::Compute(problem.to_string());
                    self.end(id, Event::Failed(failure));
                }
            }
        }
        let after = self.scheduler.totals();
        metrics::generated(
            after.source_tokens - before.source_tokens,
            after.target_tokens - before.target_tokens,
        );
        let used = self.scheduler.pages_used();
        self.numbers.set(self.scheduler.running(), used);
    }

    fn deliver(&mut self, task: u64, delta: Delta, now: Instant) {
        let Some(&(id, choice)) = self.owners.get(&task) else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if !delta.tokens.is_empty() {
            match job.last.insert(choice, now) {
                None => metrics::first_token(now - job.submitted),
                Some(before) => metrics::next_token(now - before),
            }
        }
        job.usage.written += delta.tokens.len();
        let finish = delta.finish;
        job.tell(Event::Output(Piece { choice, delta }));
        if let Some(finish) = finish {
            let reason = match finish {
                Finish::Length => "length",
                Finish::End => "stop",
            };
            metrics::answered(reason, now - job.submitted);
            self.owners.remove(&task);
            job.left -= 1;
            if job.left == 0 {
                let begun = job.begun.unwrap_or(now);
                job.usage.computed = now - begun;
                let usage = job.usage;
                self.end(id, Event::Finished(usage));
            }
        }
    }
}
