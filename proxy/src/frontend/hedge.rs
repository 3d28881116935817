//! One attempt, and a second one at another worker when the first takes longer than nearly all do, so
//! that a request is answered although its worker hangs. The first answer counts, and the other attempt
//! is cancelled.

use std::pin::pin;
use std::time::Duration;

use tidegate_queue::{AttemptError, Placement};
use tidegate_telemetry::{Kind, Span};

use super::Frontend;
use super::trace::Attempt;
use crate::backend::{Answer, Outgoing};
use crate::dispatch::Place;

impl Frontend {
    /// Waits for a turn and asks the worker. `deaths` counts workers that died of a try beside which
    /// another went on.
    pub(super) async fn try_once(
        &self,
        place: &mut Place,
        request: &Outgoing,
        deaths: &mut u32,
        span: &Span,
    ) -> Result<(Answer, Attempt), AttemptError> {
        let waiting = span.child(Kind::Internal, "queue");
        let first = place.turn().await;
        drop(waiting);
        let Some(after) = first.hedge_after else {
            return self.ask(first, request, place.left(), span).await;
        };
        let mut first_try = pin!(self.ask(first, request, place.left(), span));
        let second = loop {
            tokio::select! {
                answer = &mut first_try => return answer,
                () = tokio::time::sleep(after) => {}
            }
            if let Some(second) = place.hedge() {
                break second;
            }
        };
        let mut second_try = pin!(self.ask(second, request, place.left(), span));
        let (answer, by, other) = tokio::select! {
            answer = &mut first_try => (answer, first, second),
            answer = &mut second_try => (answer, second, first),
        };
        match answer {
            Ok(answer) => {
                place.abandon(other);
                Ok(answer)
            }
            Err(attempt_error) => {
                *deaths += u32::from(attempt_error == AttemptError::Died);
                place.blame_for(&by, attempt_error);
                place.abandon(by);
                match by == first {
                    true => second_try.await,
                    false => first_try.await,
                }
            }
        }
    }

    async fn ask(
        &self,
        Placement { address, .. }: Placement,
        request: &Outgoing,
        left: Duration,
        span: &Span,
    ) -> Result<(Answer, Attempt), AttemptError> {
        let mut attempt = Attempt::begin(span, address);
        let answer = self
            .backend
            .ask(address, request, left, attempt.span())
            .await;
        if let Err(attempt_error) = &answer {
            let request_id = request.id();
            tracing::debug!(%request_id, %address, ?attempt_error, "an attempt failed");
        }
        attempt.begun(&answer);
        Ok((answer?, attempt))
    }
}
