//! The frontend: talks to clients. Reads a request completely, finds its queue, waits for its turn and
//! passes the answer on, and watches at all times whether the client is still connected.

mod batch;
mod body;
mod client;
mod connection;
mod head;
mod hedge;
mod relay;
mod reply;
mod request;
mod routes;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tidegate_protocol::TIMEOUT_HEADER;
use tidegate_protocol::api::{ApiRoute, is_identity};
use tidegate_queue::{Ask, AttemptError, Class, Outcome};
use tokio::sync::Semaphore;

use self::body::{Body, BodyReader, NoBody, model_of};
use self::client::Client;
use self::connection::Connection;
use self::head::Terms;
use self::relay::{AnswerRules, Cut, Relay, Source};
use self::reply::Reply;
use self::request::{HeadReader, Request};
use self::routes::{Destination, Routed};
use self::trace::Attempt;
use crate::answers::{Answers, RouteId};
use crate::backend::{Answer, Backend, Outgoing};
use crate::config::Config;
use crate::demand::{Classes, cost_of};
use crate::dispatch::{Dispatcher, NotEntered, Place};
use crate::drain::Drain;
use tidegate_keys::KeyRing;
use tidegate_telemetry::Span;

/// The client side of the proxy.
pub struct Frontend {
    dispatcher: Arc<Dispatcher>,
    backend: Backend,
    heads: HeadReader,
    bodies: BodyReader,
    answer_rules: AnswerRules,
    connections: Semaphore,
    drain: Arc<Drain>,
    /// `None`: anyone may ask.
    keys: Option<Arc<KeyRing>>,
    answers: Arc<Answers>,
    classes: Classes,
    config: Config,
}

/// A request while it is answered.
struct Exchange<'c> {
    client: &'c mut Client,
    request: Request,
    route: RouteId,
    terms: Terms,
    arrived: Duration,
    span: Span,
}

/// A client that left, or to whom nothing more can be written.
struct Gone;

impl Frontend {
    pub fn new(
        config: Config,
        connections: usize,
        dispatcher: Arc<Dispatcher>,
        backend: Backend,
        drain: Arc<Drain>,
        keys: Option<Arc<KeyRing>>,
        answers: Arc<Answers>,
    ) -> Self {
        Frontend {
            heads: HeadReader::new(&config.clients),
            bodies: BodyReader::new(&config.clients),
            answer_rules: AnswerRules::new(&config.clients),
            connections: Semaphore::new(connections),
            dispatcher,
            backend,
            drain,
            keys,
            answers,
            classes: Classes::new(&config),
            config,
        }
    }

    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    async fn serve(&self, client: &mut Client, request: Request) -> Connection {
        let _unfinished = self.drain.request();
        let Routed { route, destination } = self.route(&request);
        let (span, id) = trace::begin(&request, route, &self.answers);
        let mut exchange = Exchange {
            span,
            terms: Terms {
                version: request.version(),
                head_only: request.method() == http::Method::HEAD,
                persistent: request.persistent(),
                origin: self.origin(&request),
                id,
            },
            client,
            request,
            route,
            arrived: self.dispatcher.now(),
        };
        let served = match destination {
            Destination::Here(reply) => self.refuse(&mut exchange, reply).await,
            Destination::Queue { path, class } => {
                self.serve_queue(&mut exchange, &path, class).await
            }
            Destination::Batch(url) => self.serve_batch(&mut exchange, &url).await,
        };
        let Exchange {
            client,
            mut request,
            terms,
            mut span,
            ..
        } = exchange;
        if served.is_err() {
            span.fail("client_left");
        }
        drop(span);
        match served {
            Err(Gone) => Connection::Broken,
            Ok(()) if !self.bodies.skip(client, &mut request).await => Connection::Ending,
            Ok(()) if terms.persistent => Connection::Reusable,
            Ok(()) => Connection::Ending,
        }
    }

    /// Answers a request that enters no queue.
    async fn refuse(&self, exchange: &mut Exchange<'_>, reply: Reply) -> Result<(), Gone> {
        let took = self.dispatcher.now().saturating_sub(exchange.arrived);
        let (status, answer) = self.render(exchange, reply);
        self.dispatcher
            .note_unqueued(took, status, &exchange.terms.id);
        self.write(exchange.client, &answer).await
    }

    async fn reply(&self, exchange: &mut Exchange<'_>, reply: Reply) -> Result<(), Gone> {
        let (_, answer) = self.render(exchange, reply);
        self.write(exchange.client, &answer).await
    }

    /// An answer of the proxy's own, which is counted.
    fn render(&self, exchange: &mut Exchange<'_>, reply: Reply) -> (StatusCode, Vec<u8>) {
        let terms = &mut exchange.terms;
        terms.persistent &= !exchange.request.owes_continue && !self.drain.has_begun();
        let (status, answer) = reply.render(exchange.request.path(), terms);
        self.answered(exchange, status);
        (status, answer)
    }

    /// Counts an answer, and notes it in the request's span and in the log.
    fn answered(&self, exchange: &mut Exchange<'_>, status: StatusCode) {
        self.answers.count(exchange.route, status);
        trace::answered(&mut exchange.span, status);
        tracing::debug!(
            request_id = %exchange.terms.id,
            route = self.answers.name(exchange.route),
            status = status.as_u16(),
            ms = self.dispatcher.now().saturating_sub(exchange.arrived).as_millis() as u64,
            "answered"
        );
    }

    async fn serve_queue(
        &self,
        exchange: &mut Exchange<'_>,
        path: &str,
        class: Class,
    ) -> Result<(), Gone> {
        let (place, request, _body) = match self.admit(exchange, path, class).await {
            Ok(admitted) => admitted,
            Err(NoBody::Gone) => return Err(Gone),
            Err(NoBody::Refused(reply)) => return self.refuse(exchange, reply).await,
            Err(NoBody::Shed(reply)) => return self.reply(exchange, reply).await,
            Err(NoBody::Faulty(fault)) => {
                exchange.terms.persistent = false;
                return self.refuse(exchange, Reply::faulty(fault)).await;
            }
        };
        self.carry(exchange, place, &request).await
    }

    /// Reads the body, finds the queue, and enters it.
    async fn admit(
        &self,
        exchange: &mut Exchange<'_>,
        path: &str,
        class: Class,
    ) -> Result<(Place, Outgoing, Body), NoBody> {
        let timeout = self
            .timeout_of(&exchange.request, class)
            .map_err(NoBody::Refused)?;
        // Found here, for the worker is not told of the coding (RFC 9110, section 8.4).
        let fields = exchange.request.fields();
        let is_coded = !fields.all("content-encoding").all(is_identity);
        if is_coded {
            return Err(NoBody::Refused(Reply::content_encoding()));
        }
        let body = self
            .bodies
            .read(exchange.client, &mut exchange.request, timeout);
        let body = body.await?;
        let model = model_of(&body.bytes).map_err(NoBody::Refused)?;
        let request = &exchange.request;
        let bytes = body.bytes.clone();
        let span = &mut exchange.span;
        let (method, fields, id) = (request.method(), request.fields(), &exchange.terms.id);
        let request = Outgoing::new(method, path, fields, bytes, span, id.clone());
        let ask = Ask {
            arrived: exchange.arrived,
            deadline: exchange.arrived + timeout,
            bytes: request.body().len() as u64,
            cost: cost_of(path, &body.bytes),
            class,
            idempotent: ApiRoute::kind_of(path).is_idempotent(),
        };
        let place = self.dispatcher.enter(model.as_deref(), ask, id);
        let place = place.map_err(|error| match error {
            NotEntered::NoSuchModel(reason) => {
                let known = self.known_models();
                NoBody::Refused(Reply::no_such_model(reason, model.as_deref(), &known))
            }
            NotEntered::Refused(refusal) => NoBody::Shed(Reply::refused(refusal)),
        })?;
        trace::entered(span, &place);
        Ok((place, request, body))
    }

    fn timeout_of(&self, request: &Request, class: Class) -> Result<Duration, Reply> {
        let (default, longest) = self.classes.timeouts(class);
        if request.fields().get(TIMEOUT_HEADER).is_none() {
            return Ok(default);
        }
        let asked = request.text(TIMEOUT_HEADER);
        let asked: Option<u64> = asked.and_then(|text| text.trim().parse().ok());
        match asked {
            Some(ms) if ms > 0 => Ok(Duration::from_millis(ms).min(longest)),
            _ => Err(Reply::bad_request(
                "invalid_timeout",
                format!("{TIMEOUT_HEADER}: expected milliseconds, 1 or more"),
            )),
        }
    }

    /// From the queue to the end of the answer.
    async fn carry(
        &self,
        exchange: &mut Exchange<'_>,
        mut place: Place,
        request: &Outgoing,
    ) -> Result<(), Gone> {
        let left = place.left();
        let answer = tokio::select! {
            answer = tokio::time::timeout(left, self.answer(&mut place, request, &exchange.span)) => answer,
            () = exchange.client.has_left() => return Err(Gone),
        };
        match answer {
            Ok(Some((answer, attempt))) => {
                let source = Source {
                    answer,
                    place: Some(place),
                    attempt,
                };
                let passed = self.pass_on(exchange, source).await;
                match passed {
                    Err(Cut::NotBegun) => self.reply(exchange, Reply::workers_failed()).await,
                    passed => passed.map_err(|_| Gone),
                }
            }
            Ok(None) => {
                place.leave(Outcome::Failed);
                self.reply(exchange, Reply::workers_failed()).await
            }
            Err(_) => {
                place.leave(Outcome::Expired);
                self.reply(exchange, Reply::expired()).await
            }
        }
    }

    /// Tries worker after worker until one answers; `None` when the request is given up.
    async fn answer(
        &self,
        place: &mut Place,
        request: &Outgoing,
        span: &Span,
    ) -> Option<(Answer, Attempt)> {
        let mut deaths = 0;
        loop {
            match self.try_once(place, request, &mut deaths, span).await {
                Ok(answer) => return Some(answer),
                Err(attempt_error) => {
                    deaths += u32::from(attempt_error == AttemptError::Died);
                    if deaths >= self.config.retry.deaths {
                        place.blame(attempt_error);
                        return None;
                    }
                    if !place.set_back(attempt_error) {
                        return None;
                    }
                }
            }
        }
    }

    /// Passes an answer on, and counts it once it has begun.
    async fn pass_on(&self, exchange: &mut Exchange<'_>, source: Source) -> Result<(), Cut> {
        exchange.terms.persistent &= !self.drain.has_begun();
        let status = source.answer.status();
        let (client, rules) = (&mut *exchange.client, &self.answer_rules);
        let path = exchange.request.path();
        let relay = Relay::new(client, &self.backend, rules, source, path);
        let passed = relay.run(&mut exchange.terms).await;
        if passed != Err(Cut::NotBegun) {
            self.answered(exchange, status);
        }
        if passed == Err(Cut::ByWorker) {
            exchange.span.fail("worker_broke_off");
            // It ends here: the client has not left.
            drop(std::mem::take(&mut exchange.span));
        }
        passed
    }

    /// A client that takes nothing for too long counts as gone.
    async fn write(&self, client: &mut Client, bytes: &[u8]) -> Result<(), Gone> {
        let write = client.write(bytes);
        match tokio::time::timeout(*self.config.clients.write_timeout, write).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}
