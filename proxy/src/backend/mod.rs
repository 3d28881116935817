//! The backend: sends requests to workers. One attempt is a request to one worker, up to the end of
//! its answer's head.

mod answer;
mod exchange;
mod outgoing;
mod passage;
mod pool;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tidegate_http::RequestId;
use tidegate_protocol::{REFUSED_FULL, REFUSED_HEADER};
use tidegate_queue::AttemptError;
use tidegate_telemetry::Span;

pub use self::answer::Answer;
use self::exchange::{Exchange, NoAnswer};
use self::outgoing::Introduction;
pub use self::outgoing::Outgoing;
pub use self::passage::Passage;
use self::pool::{NoConnection, Pool, PoolConfig};
use crate::config::WorkerRules;

/// Most of a refusal's body that is read to keep its connection.
const REFUSAL_BYTES: usize = 64 << 10;

/// Speaks to workers in this proxy's name.
pub struct Backend {
    pool: Arc<Pool>,
    introduction: Introduction,
    answer_gap: Duration,
}

impl Backend {
    /// `token` is the worker token that this proxy shows; `connections` is how many there may be.
    pub fn new(proxy: &str, token: &str, rules: &WorkerRules, connections: usize) -> Self {
        Backend {
            pool: Arc::new(Pool::new(PoolConfig {
                connect_timeout: *rules.connect_timeout,
                unreachable: *rules.unreachable,
                idle: *rules.idle,
                connections,
            })),
            introduction: Introduction::new(proxy, token),
            answer_gap: *rules.answer_gap,
        }
    }

    /// Longest gap between two pieces of an answer.
    pub fn answer_gap(&self) -> Duration {
        self.answer_gap
    }

    /// What closes connections that nobody uses, for as long as the process lives.
    pub fn keep_fresh(&self) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.pool).keep_fresh()
    }

    /// Sends the request to a worker and reads the head of its answer. May be dropped at any
    /// point: the worker then sees its client leave.
    pub async fn ask(
        &self,
        worker: SocketAddr,
        request: &Outgoing,
        left: Duration,
        attempt: &Span,
    ) -> Result<Answer, AttemptError> {
        let head = request.head(&self.introduction, worker, left, attempt);
        let mut answer = self.exchange(worker, &head, request.body()).await?;
        match refusal(&answer, request.id()) {
            Some(attempt_error) => {
                self.settle(&mut answer).await;
                self.release(answer);
                Err(attempt_error)
            }
            None => Ok(answer),
        }
    }

    /// Begins a request to another service, whose body follows piece by piece; `None` when it
    /// cannot be reached.
    pub async fn pass(&self, to: SocketAddr, head: Vec<u8>) -> Option<Passage> {
        let (stream, _) = self.pool.get(to).await.ok()?;
        Some(Passage::new(to, stream, head))
    }

    /// Keeps the connection of an answer if that was read to its end and may be used again.
    pub fn release(&self, answer: Answer) {
        if let Some((worker, stream)) = answer.into_connection() {
            self.pool.put(worker, stream);
        }
    }

    /// An idle connection may have been closed by the worker just now: one on which no answer
    /// begins is replaced by another, and at last by a new one. If that cannot be had either, the
    /// worker has died, and perhaps of this request.
    async fn exchange(
        &self,
        worker: SocketAddr,
        head: &[u8],
        body: &[u8],
    ) -> Result<Answer, AttemptError> {
        let mut was_sent = false;
        loop {
            let (stream, reused) = self.pool.get(worker).await.map_err(|reason| match reason {
                NoConnection::Unreachable if was_sent => AttemptError::Died,
                NoConnection::Unreachable => AttemptError::Unreachable,
                NoConnection::TooMany => AttemptError::Full,
            })?;
            match Exchange::ask(worker, stream, head, body).await {
                Ok(answer) => return Ok(answer),
                Err(NoAnswer { sent }) if reused => was_sent |= sent,
                Err(_) => return Err(AttemptError::Died),
            }
        }
    }

    /// Reads a refusal to its end so that its connection can be used again.
    async fn settle(&self, answer: &mut Answer) {
        let mut body = Vec::new();
        let read = async {
            while !answer.is_done() && body.len() <= REFUSAL_BYTES {
                if answer.read(&mut body).await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(self.answer_gap, read).await;
    }
}

/// An answer that is not for the client: the worker did not begin, or does not know this proxy.
fn refusal(answer: &Answer, request_id: &RequestId) -> Option<AttemptError> {
    if answer.status() == StatusCode::UNAUTHORIZED {
        tracing::error!(%request_id, "a worker does not accept this proxy's token");
        return Some(AttemptError::NotReady);
    }
    let reason = answer.fields().get(REFUSED_HEADER)?;
    Some(match reason == REFUSED_FULL.as_bytes() {
        true => AttemptError::Full,
        false => AttemptError::NotReady,
    })
}
