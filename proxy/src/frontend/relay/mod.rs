//! Passes an answer on. The worker's answer is read into a bounded buffer, so that its permit is free
//! with its last byte, however slowly the client reads.

mod events;
mod fields;

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_http1::{Version, write_chunk};
use tidegate_queue::{AttemptError, Outcome};
use tokio::time::Instant;

use self::events::Events;
use self::fields::head;
use super::client::Client;
use super::head::Terms;
use super::reply::Reply;
use super::trace::Attempt;
use crate::allowance::{Allowance, Share};
use crate::backend::{Answer, Backend};
use crate::buffer::PIECE;
use crate::config::ClientRules;
use crate::dispatch::Place;

/// The limits of all answers.
pub struct AnswerRules {
    /// Bytes of one answer that are read ahead.
    ahead: usize,
    /// Bytes of all of them.
    allowance: Allowance,
    /// Longest time in which a client takes nothing.
    write_timeout: Duration,
    /// Least bytes a second that a client takes, on average, beyond `write_timeout`.
    least_rate: u64,
    /// Longest time that a client may keep a worker waiting with a full buffer.
    hold_timeout: Duration,
}

impl AnswerRules {
    pub fn new(rules: &ClientRules) -> Self {
        AnswerRules {
            ahead: rules.answer_bytes,
            allowance: Allowance::new(rules.all_answers_bytes),
            write_timeout: *rules.write_timeout,
            least_rate: rules.least_rate,
            hold_timeout: *rules.hold_timeout,
        }
    }
}

/// Why an answer was not passed on whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The worker broke off before the client had got anything.
    NotBegun,
    /// The worker broke off.
    ByWorker,
    /// The client left, or reads too slowly.
    ByClient,
}

/// Where an answer comes from.
pub struct Source {
    pub answer: Answer,
    /// Of a worker's answer.
    pub place: Option<Place>,
    pub attempt: Attempt,
}

/// An answer on its way.
pub struct Relay<'a> {
    client: &'a mut Client,
    backend: &'a Backend,
    rules: &'a AnswerRules,
    /// Until its last byte is in.
    source: Option<Source>,
    /// Bytes that are read ahead.
    ahead: usize,
    /// What the client has not taken yet.
    pending: VecDeque<Vec<u8>>,
    pending_bytes: usize,
    /// Bytes of the first of them that it has.
    taken: usize,
    taken_total: u64,
    share: Share,
    chunked: bool,
    head_only: bool,
    began: Instant,
    last_read: Instant,
    last_write: Instant,
    /// Since when the worker waits for room.
    held_since: Option<Instant>,
    /// Of a stream of them.
    events: Option<Events>,
    /// Whether the worker broke off and the client is told by an event.
    broken: bool,
    path: &'a str,
}

impl<'a> Relay<'a> {
    /// Begins with the head, and with what came together with it. A stream of events whose worker
    /// breaks off ends with one for the clients of `path`.
    pub fn new(
        client: &'a mut Client,
        backend: &'a Backend,
        rules: &'a AnswerRules,
        source: Source,
        path: &'a str,
    ) -> Self {
        let now = Instant::now();
        Relay {
            client,
            backend,
            rules,
            // Reading ahead frees a worker; where there is none it would only fill the memory.
            ahead: match source.place {
                Some(_) => rules.ahead,
                None => 2 * PIECE,
            },
            events: Events::of(&source.answer),
            broken: false,
            path,
            source: Some(source),
            pending: VecDeque::new(),
            pending_bytes: 0,
            taken: 0,
            taken_total: 0,
            share: rules.allowance.share(),
            chunked: false,
            head_only: false,
            began: now,
            last_read: now,
            last_write: now,
            held_since: None,
        }
    }

    /// Passes the answer on. `terms` learn when the connection cannot be used again.
    pub async fn run(mut self, terms: &mut Terms) -> Result<(), Cut> {
        self.begin(terms).await?;
        loop {
            let limit = self.next_limit();
            let poll = std::future::poll_fn(|context| self.poll(context));
            if let Ok(done) = tokio::time::timeout_at(limit, poll).await {
                return done;
            }
            self.check_limits()?;
        }
    }

    /// Writes the head, for a body of known length where one read brought it whole.
    async fn begin(&mut self, terms: &mut Terms) -> Result<(), Cut> {
        let Some(mut source) = self.source.take() else {
            return Ok(());
        };
        let answer = &mut source.answer;
        let mut data = Vec::new();
        let first = std::future::poll_fn(|context| match answer.is_done() {
            true => Poll::Ready(Ok(())),
            false => match answer.poll_read(context, &mut data) {
                Poll::Ready(read) => Poll::Ready(read),
                Poll::Pending => Poll::Ready(Ok(())),
            },
        });
        if first.await.is_err() {
            source.break_off();
            return Err(Cut::NotBegun);
        }
        let length = answer
            .length()
            .or_else(|| answer.is_done().then_some(data.len() as u64));
        self.head_only = terms.head_only;
        self.chunked = length.is_none() && terms.version == Version::Http11;
        terms.persistent &= length.is_some() || self.chunked || self.head_only;
        let head = head(answer, length, self.chunked, data.len(), terms);
        self.pending_bytes = head.len();
        self.pending.push_back(head);
        self.source = Some(source);
        self.pass(data);
        self.settle();
        Ok(())
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        loop {
            let read = self.poll_worker(context)?;
            let written = self.poll_client(context)?;
            if self.source.is_none() && self.pending.is_empty() {
                return Poll::Ready(match self.broken {
                    true => Err(Cut::ByWorker),
                    false => Ok(()),
                });
            }
            if !read && !written {
                break;
            }
        }
        match self.client.poll_left(context) {
            Poll::Ready(()) => Poll::Ready(Err(Cut::ByClient)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reads a piece of the answer if there is one and room for it; whether it did.
    fn poll_worker(&mut self, context: &mut Context<'_>) -> Result<bool, Cut> {
        if self.source.is_none() || !self.has_room() {
            return Ok(false);
        }
        let Some(source) = &mut self.source else {
            return Ok(false);
        };
        let mut data = Vec::new();
        match source.answer.poll_read(context, &mut data) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(())) => {
                self.last_read = Instant::now();
                self.pass(data);
                self.settle();
                Ok(true)
            }
            Poll::Ready(Err(_)) => self.break_off().map(|()| true),
        }
    }

    /// Gives the place back of a worker that broke off. The client of a stream of events is told by
    /// one more, which is then all that is left to send.
    fn break_off(&mut self) -> Result<(), Cut> {
        if let Some(source) = self.source.take() {
            source.break_off();
        }
        // Where nothing was written yet, the client can still be told by a status.
        if self.taken_total == 0 {
            return Err(Cut::NotBegun);
        }
        let tells = (self.events.take()).is_some_and(|events| events.may_add());
        if !tells || self.head_only {
            return Err(Cut::ByWorker);
        }
        self.broken = true;
        self.push(Reply::worker_broke_off().event(self.path));
        self.end_chunks();
        Ok(())
    }

    /// Whether another piece fits. One always does beside an empty buffer.
    fn has_room(&mut self) -> bool {
        let wanted = self.pending_bytes + PIECE;
        let room = self.pending.is_empty() || (wanted <= self.ahead && self.share.widen(wanted));
        match room {
            true => self.held_since = None,
            false => self.held_since = self.held_since.or_else(|| Some(Instant::now())),
        }
        room
    }

    /// Writes what the client takes now; whether it took anything.
    fn poll_client(&mut self, context: &mut Context<'_>) -> Result<bool, Cut> {
        let mut progress = false;
        while let Some(first) = self.pending.front() {
            let written = match self.client.poll_write(context, &first[self.taken..]) {
                Poll::Ready(Ok(written)) if written > 0 => written,
                Poll::Ready(_) => return Err(Cut::ByClient),
                Poll::Pending => break,
            };
            progress = true;
            self.taken += written;
            self.taken_total += written as u64;
            if self.taken == first.len() {
                self.pending_bytes -= first.len();
                self.taken = 0;
                self.pending.pop_front();
            }
        }
        if progress && !(self.pending.is_empty() && self.source.is_none()) {
            self.last_write = Instant::now();
            self.share.narrow(self.pending_bytes);
        }
        Ok(progress)
    }

    /// Adds what came from the worker, of events as far as they are whole.
    fn pass(&mut self, data: Vec<u8>) {
        let data = match &mut self.events {
            Some(events) => events.pass(data),
            None => data,
        };
        self.push(data);
    }

    /// Adds a piece of the body for the client, together with the one before if both are small.
    fn push(&mut self, data: Vec<u8>) {
        if data.is_empty() || self.head_only {
            return;
        }
        if self.pending.is_empty() {
            self.last_write = Instant::now();
        }
        let before = self.pending_bytes;
        match self
            .pending
            .back_mut()
            .filter(|last| last.len() + data.len() <= PIECE)
        {
            Some(last) => {
                let length = last.len();
                add(last, &data, self.chunked);
                self.pending_bytes += last.len() - length;
            }
            None if self.chunked => {
                let mut piece = Vec::with_capacity(data.len() + 16);
                write_chunk(&data, &mut piece);
                self.pending_bytes += piece.len();
                self.pending.push_back(piece);
            }
            None => {
                self.pending_bytes += data.len();
                self.pending.push_back(data);
            }
        }
        debug_assert!(self.pending_bytes > before);
    }

    /// Gives permit and connection back once the worker's last byte is in.
    fn settle(&mut self) {
        if !self
            .source
            .as_ref()
            .is_some_and(|source| source.answer.is_done())
        {
            return;
        }
        if let Some(source) = self.source.take() {
            leave(source.place, Outcome::Answered);
            source.attempt.answered();
            self.backend.release(source.answer);
        }
        if let Some(events) = self.events.take() {
            self.push(events.rest());
        }
        self.end_chunks();
    }

    /// Adds the chunk that ends a body.
    fn end_chunks(&mut self) {
        if self.chunked && !self.head_only {
            let mut last = self.pending.pop_back().unwrap_or_default();
            let length = last.len();
            write_chunk(b"", &mut last);
            self.pending_bytes += last.len() - length;
            self.pending.push_back(last);
        }
    }

    /// When the next of the limits may be reached.
    fn next_limit(&self) -> Instant {
        let waits = self.source.is_some() && self.held_since.is_none();
        let worker = waits.then(|| self.last_read + self.backend.answer_gap());
        let limits = [worker, self.client_limit(), self.held_limit()];
        let far = self.began + Duration::from_secs(86_400 * 365);
        limits.into_iter().flatten().min().unwrap_or(far)
    }

    fn client_limit(&self) -> Option<Instant> {
        let slowest = Duration::from_secs(self.taken_total / self.rules.least_rate.max(1));
        let stalled = self.last_write + self.rules.write_timeout;
        let slow = self.began + self.rules.write_timeout + slowest;
        // One that streams is as slow as its worker.
        let slow = self.source.is_none().then_some(slow);
        let limit = slow.map_or(stalled, |slow| slow.min(stalled));
        (!self.pending.is_empty()).then_some(limit)
    }

    fn held_limit(&self) -> Option<Instant> {
        let of_worker = |source: &Source| source.place.is_some();
        let worker_waits = self.source.as_ref().is_some_and(of_worker);
        let since = self.held_since.filter(|_| worker_waits);
        since.map(|since| since + self.rules.hold_timeout)
    }

    fn check_limits(&mut self) -> Result<(), Cut> {
        let now = Instant::now();
        let reached = |limit: Option<Instant>| limit.is_some_and(|limit| limit <= now);
        if reached(self.client_limit()) || reached(self.held_limit()) {
            return Err(Cut::ByClient);
        }
        let waits = self.source.is_some() && self.held_since.is_none();
        if waits && self.last_read + self.backend.answer_gap() <= now {
            return self.break_off();
        }
        Ok(())
    }
}

impl Source {
    /// No more of the answer comes.
    fn break_off(mut self) {
        leave(self.place, Outcome::Failed);
        self.attempt.failed(AttemptError::Died);
    }
}

fn leave(place: Option<Place>, outcome: Outcome) {
    if let Some(place) = place {
        place.leave(outcome);
    }
}

fn add(piece: &mut Vec<u8>, data: &[u8], chunked: bool) {
    match chunked {
        true => write_chunk(data, piece),
        false => piece.extend_from_slice(data),
    }
}
