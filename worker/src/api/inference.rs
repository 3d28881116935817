//! The path of every request that the model computes: admitted, tokenized, queued, awaited, answered.
//! Routes only define how to read a body and how a reply looks.
//!
//! A short body is read where it arrives: that takes less time than handing it to another thread
//! would save. A long one is read on a thread of its own, of which there are as many as cores; its
//! slot goes along, and it is given up between two texts when the client leaves.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{self, FromRequest};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use serde::de::DeserializeOwned;
use tidegate_agent::Slot;
use tidegate_telemetry::Span;
use tokio::sync::mpsc::Receiver;

use super::admit::{Admitted, admit};
use super::app::App;
use super::error::{ApiError, Refuse};
use super::reply::Reply;
use super::texts::Texts;
use super::watch::Watched;
use crate::engine::encoder::{self, Rows};
use crate::engine::{Engine as _, Event, Failure, Request, Usage};
use crate::metrics;
use crate::models::Want;
use crate::trace;

/// Bodies of up to this many bytes are read where they arrive.
const INLINE_BYTES: usize = 4096;

/// A request without a deadline waits no longer than this for its turn to be read.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A request as it came in.
pub struct Call {
    pub app: Arc<App>,
    headers: HeaderMap,
    body: Body,
    begun: Instant,
}

/// A route whose requests the model computes. `T` is what a reply needs to know of its request.
pub struct Route<T> {
    /// Its name in metrics.
    pub method: &'static str,
    /// How its clients learn what went wrong.
    pub refuse: Refuse,
    pub read: fn(&App, &Arrived) -> Result<Asked<T>, ApiError>,
    pub reply: fn(&App, Done<T>) -> Result<Reply, ApiError>,
}

/// A body that is to be read.
pub struct Arrived {
    bytes: Bytes,
    /// Gone when its client is; none where nobody could leave meanwhile.
    client: Option<Weak<()>>,
}

/// A body, read.
pub struct Asked<T> {
    /// At least one.
    pub texts: Texts,
    pub want: Want,
    pub form: T,
}

impl<T> Asked<T> {
    /// The same with another form.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Asked<U> {
        Asked {
            texts: self.texts,
            want: self.want,
            form: change(self.form),
        }
    }
}

/// What the model gave, and what it took.
pub struct Done<T> {
    pub form: T,
    /// One a text, in the order of the texts.
    pub results: Rows,
    pub cost: Cost,
}

/// What a request took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub tokens: usize,
    pub characters: usize,
    pub tokenization: Duration,
    pub waited: Duration,
    pub computed: Duration,
}

impl FromRequest<Arc<App>> for Call {
    type Rejection = Infallible;

    async fn from_request(request: extract::Request, app: &Arc<App>) -> Result<Call, Infallible> {
        let (head, body) = request.into_parts();
        Ok(Call {
            app: app.clone(),
            headers: head.headers,
            body,
            begun: Instant::now(),
        })
    }
}

impl Arrived {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.bytes).map_err(|error| ApiError::unreadable(&error))
    }

    /// Whether its client still waits; asked between two texts.
    pub fn awaited(&self) -> Result<(), ApiError> {
        let client = self.client.as_ref();
        match client.is_none_or(|client| client.strong_count() > 0) {
            true => Ok(()),
            // Nobody reads it.
            false => Err(ApiError::internal("the client has left")),
        }
    }
}

impl Call {
    /// Answers a request to `route`.
    pub async fn compute<T: Send + 'static>(self, route: &Route<T>) -> Response {
        let Route { method, refuse, .. } = *route;
        self.answer(method, refuse, async |call, span| {
            call.infer(route, span).await
        })
        .await
    }

    /// Answers a request that needs a body read and nothing computed.
    pub async fn read_only(
        self,
        method: &'static str,
        refuse: Refuse,
        reply: fn(&App, &Arrived) -> Result<Reply, ApiError>,
    ) -> Response {
        self.answer(method, refuse, async |call, _| {
            let admitted = admit(&call.app, &call.headers, call.body, call.begun).await?;
            let (reply, admitted) = read(&call.app, admitted, reply).await?;
            reply.send(admitted).await
        })
        .await
    }

    /// Answers a request whose answer may be sent while it is computed.
    pub async fn generate<T: Send + 'static>(
        self,
        method: &'static str,
        refuse: Refuse,
        reading: fn(&App, &Arrived) -> Result<T, ApiError>,
        reply: impl AsyncFnOnce(T, Arc<App>, Slot, Option<Instant>) -> Result<Response, ApiError>,
    ) -> Response {
        self.answer(method, refuse, async |call, span| {
            let admitted = admit(&call.app, &call.headers, call.body, call.begun).await?;
            follow(&admitted, span);
            let (asked, admitted) = read(&call.app, admitted, reading).await?;
            let slot = admitted.slot.clone();
            reply(asked, call.app, slot, admitted.deadline).await
        })
        .await
    }

    /// Counts a request, and says what went wrong as its clients understand it.
    async fn answer(
        self,
        method: &'static str,
        refuse: Refuse,
        work: impl AsyncFnOnce(Call, &Span) -> Result<Response, ApiError>,
    ) -> Response {
        let begun = self.begun;
        let mut watched = Watched::begin(method, &self.app.name, &self.headers, begun);
        metrics::request_begun(method);
        let response = match work(self, watched.span()).await {
            Ok(response) => {
                metrics::request_answered(method, begun.elapsed());
                response
            }
            Err(error) => {
                metrics::request_failed(error.fault.label());
                watched.failed(&error);
                refuse(error)
            }
        };
        watched.until_sent(response)
    }

    async fn infer<T: Send + 'static>(
        self,
        route: &Route<T>,
        span: &Span,
    ) -> Result<Response, ApiError> {
        let app = self.app;
        let admitted = admit(&app, &self.headers, self.body, self.begun).await?;
        follow(&admitted, span);
        let served = app.served()?;
        let coming = served.engine.expect();
        let (asked, admitted) = read(&app, admitted, route.read).await?;
        let Asked { texts, want, form } = asked;
        let (tokens, characters) = (texts.tokens(), texts.characters);
        trace::tokenized(span, tokens, texts.tokenization);
        let numbers = served.numbers(want, texts.sequences.len(), tokens);
        let results = app.take_results(numbers)?;
        let deadline = admitted.deadline;
        let request = Request {
            input: encoder::Texts {
                sequences: texts.sequences,
                want,
                coming,
            },
            cost: tokens as u64,
            deadline,
            slot: admitted.slot.clone(),
        };
        let charged = request.slot.charge(request.cost);
        charged.map_err(|_| ApiError::full(app.admission.capacity()))?;
        let answer = Answer::of(served.engine.submit(request))
            .before(deadline)
            .await?;
        let Usage {
            waited, computed, ..
        } = answer.usage;
        metrics::computed(waited, computed);
        let cost = Cost {
            tokens,
            characters,
            tokenization: texts.tokenization,
            waited,
            computed,
        };
        let done = Done {
            form,
            results: answer.rows,
            cost,
        };
        let reply = (route.reply)(&app, done)?;
        let mut response = reply.send((admitted, results)).await?;
        cost.tell(response.headers_mut(), self.begun.elapsed());
        Ok(response)
    }
}

impl Cost {
    /// Says it in the headers of text-embeddings-inference; times are in milliseconds.
    fn tell(&self, headers: &mut HeaderMap, total: Duration) {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let values = [
            ("x-compute-time", ms(total)),
            ("x-compute-characters", self.characters as u64),
            ("x-compute-tokens", self.tokens as u64),
            ("x-total-time", ms(total)),
            ("x-tokenization-time", ms(self.tokenization)),
            ("x-queue-time", ms(self.waited)),
            ("x-inference-time", ms(self.computed)),
        ];
        headers.insert("x-compute-type", HeaderValue::from_static("cpu"));
        for (name, value) in values {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}

/// The work on an admitted request is traced as a part of its span.
fn follow(admitted: &Admitted, span: &Span) {
    if span.is_recording()
        && let Some(parent) = span.as_parent()
    {
        admitted.slot.trace_as(parent);
    }
}

/// Reads a body, on a thread of its own when that takes long.
async fn read<T: Send + 'static>(
    app: &Arc<App>,
    mut admitted: Admitted,
    read: fn(&App, &Arrived) -> Result<T, ApiError>,
) -> Result<(T, Admitted), ApiError> {
    let bytes = std::mem::take(&mut admitted.body);
    if bytes.len() <= INLINE_BYTES {
        let body = Arrived {
            bytes,
            client: None,
        };
        return Ok((read(app, &body)?, admitted));
    }
    let late = admitted.deadline.unwrap_or(Instant::now() + LONGEST_WAIT);
    let reader = app.readers.clone().acquire_owned();
    let reader = tokio::time::timeout_at(late.into(), reader).await;
    let reader = reader.map_err(|_| ApiError::expired())?;
    // Dropped with this future, which is dropped when the client leaves.
    let client = Arc::new(());
    let body = Arrived {
        bytes,
        client: Some(Arc::downgrade(&client)),
    };
    let app = app.clone();
    tokio::task::spawn_blocking(move || {
        let _reader = reader;
        Ok((read(&app, &body)?, admitted))
    })
    .await
    .map_err(|_| ApiError::internal("reading the request failed"))?
}

/// What became of a request.
struct Answer {
    rows: Rows,
    usage: Usage,
}

/// An answer as it comes.
struct Answering {
    events: Receiver<Event<Rows>>,
    begun: bool,
    rows: Rows,
}

impl Answer {
    fn of(events: Receiver<Event<Rows>>) -> Answering {
        Answering {
            events,
            begun: false,
            rows: Rows::new(),
        }
    }
}

impl Answering {
    /// Waits for all of it, and past the deadline only for what was begun before it.
    async fn before(mut self, deadline: Option<Instant>) -> Result<Answer, ApiError> {
        if let Some(deadline) = deadline {
            tokio::select! {
                biased;
                answer = self.end() => return answer,
                () = tokio::time::sleep_until(deadline.into()) => {
                    if !self.begun {
                        return Err(ApiError::expired());
                    }
                }
            }
        }
        self.end().await
    }

    /// May be dropped and called again.
    async fn end(&mut self) -> Result<Answer, ApiError> {
        loop {
            match self.events.recv().await {
                Some(Event::Started) => self.begun = true,
                Some(Event::Output(rows)) => self.rows.extend(rows),
                Some(Event::Finished(usage)) => {
                    let rows = std::mem::take(&mut self.rows);
                    return Ok(Answer { rows, usage });
                }
                Some(Event::Failed(Failure::Expired)) => return Err(ApiError::expired()),
                Some(Event::Failed(failure)) => {
                    return Err(ApiError::internal(failure.to_string()));
                }
                None => return Err(ApiError::internal("the engine has ended")),
            }
        }
    }
}
