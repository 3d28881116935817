//! The decoder's thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use tidegate_agent::Slot;
use tidegate_generation::{Delta, Finish, Limits, Scheduler, Task, Tokenizer};
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
    /// Answers that have not ended.
    left: usize,
    usage: Usage,
    /// When the last token of each answer came.
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
            events,
            deadline,
            _slot: slot,
            submitted: now,
            begun: None,
            usage: Usage {
                read: tasks.iter().map(|task| task.prompt.len()).sum(),
                ..Usage::default()
            },
            tasks,
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
    tokenizer: Arc<Tokenizer>,
    scheduler: Scheduler,
    incoming: Receiver<Job>,
    jobs: HashMap<u64, Job>,
    /// The job and the choice that a sequence belongs to.
    owners: HashMap<u64, (u64, usize)>,
    next: u64,
    numbers: Arc<Numbers>,
}

impl Turn {
    pub fn new(
        network: Network,
        tokenizer: Arc<Tokenizer>,
        limits: Limits,
        incoming: Receiver<Job>,
        numbers: Arc<Numbers>,
    ) -> Turn {
        Turn {
            network,
            tokenizer,
            scheduler: Scheduler::new(limits),
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
                self.numbers.set(0, self.scheduler.pages().used());
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
        for (choice, task) in std::mem::take(&mut job.tasks).into_iter().enumerate() {
            let sequence = self.next;
            self.next += 1;
            self.owners.insert(sequence, (id, choice));
            self.scheduler.add(sequence, task);
        }
        self.jobs.insert(id, job);
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

    /// Ends a request: its sequences leave, its slot is free.
    fn end(&mut self, id: u64, last: Event<Piece>) {
        let sequences = self.owners.iter().filter(|(_, owner)| owner.0 == id);
        let sequences: Vec<u64> = sequences.map(|(sequence, _)| *sequence).collect();
        for sequence in sequences {
            self.owners.remove(&sequence);
            self.scheduler.remove(sequence);
        }
        if let Some(job) = self.jobs.remove(&id) {
            if job.begun.is_none() {
                self.numbers.begun_or_gone();
            }
            job.tell(last);
        }
    }

    fn admit(&mut self, now: Instant) {
        for sequence in self.scheduler.admit() {
            let Some(&(id, choice)) = self.owners.get(&sequence) else {
                continue;
            };
            let reused = self.scheduler.reused(sequence).unwrap_or(0);
            let tokens = self.scheduler.prompt(sequence).unwrap_or(0);
            metrics::prompt_known(tokens, reused);
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
            job.tell(Event::Output(Piece {
                choice,
                reused,
                delta: Delta::default(),
            }));
        }
    }

    fn step(&mut self) {
        let before = self.scheduler.totals();
        let stepped = self.scheduler.step(&mut self.network, &self.tokenizer);
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
                    let failure = Failure::Compute(problem.to_string());
                    self.end(id, Event::Failed(failure));
                }
            }
        }
        let after = self.scheduler.totals();
        metrics::generated(
            after.prompt_tokens - before.prompt_tokens,
            after.answer_tokens - before.answer_tokens,
        );
        let used = self.scheduler.pages().used();
        self.numbers.set(self.scheduler.running(), used);
    }

    fn deliver(&mut self, sequence: u64, delta: Delta, now: Instant) {
        let Some(&(id, choice)) = self.owners.get(&sequence) else {
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
        let finish = delta.finish.clone();
        job.tell(Event::Output(Piece {
            choice,
            reused: 0,
            delta,
        }));
        match finish {
            None => {}
            Some(Finish::Failed(problem)) => {
                self.end(id, Event::Failed(Failure::Compute(problem)));
            }
            Some(finish) => {
                let reason = match finish {
                    Finish::Length => "length",
                    _ => "stop",
                };
                metrics::answered(reason, now - job.submitted);
                self.owners.remove(&sequence);
                job.left -= 1;
                if job.left == 0 {
                    job.usage.computed =
                        job.begun.map_or_else(Default::default, |begun| now - begun);
                    let usage = job.usage;
                    self.end(id, Event::Finished(usage));
                }
            }
        }
    }
}
