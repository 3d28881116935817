//! The frontend: where clients come in. Reads a request whole, finds its queue, waits for its turn
//! and passes the answer on, watching all the while whether the client is still there.

mod body;
mod reply;
mod routes;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use tidegate_protocol::TIMEOUT_HEADER;
use tidegate_queue::{Ask, AttemptError, Class, Outcome, Placement};
use tokio::sync::Semaphore;

use self::body::{BodyReader, NoBody, model_of};
use self::reply::Reply;
use self::routes::Route;
use crate::config::Config;
use crate::demand::{Classes, cost_of};
use crate::dispatch::{Dispatcher, NotEntered, Place};
use crate::drain::Drain;
use crate::forward::{Answer, Forwarder, Outgoing};
use crate::keys::KeyRing;

/// How long the rest of a refused body may take to be read.
const SKIP_TIMEOUT: Duration = Duration::from_secs(5);

/// The client side of the proxy.
pub struct Frontend {
    dispatcher: Arc<Dispatcher>,
    forwarder: Forwarder,
    bodies: BodyReader,
    connections: Semaphore,
    drain: Arc<Drain>,
    /// `None`: anyone may ask.
    keys: Option<Arc<KeyRing>>,
    classes: Classes,
    config: Config,
}

/// What is left of a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Reusable,
    Broken,
}

/// A client that left, or to whom nothing more can be written.
struct Gone;

impl Frontend {
    pub fn new(
        config: Config,
        dispatcher: Arc<Dispatcher>,
        forwarder: Forwarder,
        drain: Arc<Drain>,
        keys: Option<Arc<KeyRing>>,
    ) -> Self {
        let clients = &config.clients;
        let timeout = clients.body_timeout.into();
        Frontend {
            bodies: BodyReader::new(clients.body_bytes, clients.all_bodies_bytes, timeout),
            connections: Semaphore::new(clients.connections),
            dispatcher,
            forwarder,
            drain,
            keys,
            classes: Classes::new(&config),
            config,
        }
    }

    /// Waits for the next request's header. `false` when none came.
    async fn greet(&self, session: &mut ServerSession) -> bool {
        let clients = &self.config.clients;
        let (idle, header) = (*clients.idle, *clients.header_timeout);
        let read = tokio::time::timeout(idle + header, session.read_request()).await;
        matches!(read, Ok(Ok(true)))
    }

    async fn serve(&self, session: &mut ServerSession) -> Connection {
        let served = match self.route(session) {
            Route::Here(reply) => self.reply(session, reply).await,
            Route::Queue(class) => self.serve_queue(session, class).await,
        };
        match served {
            Ok(()) if self.skip_body(session).await => Connection::Reusable,
            _ => Connection::Broken,
        }
    }

    /// Reads what is left of a refused body: a connection that is closed before that takes its
    /// answer with it. Whether the end was reached.
    async fn skip_body(&self, session: &mut ServerSession) -> bool {
        let limit = self.config.clients.body_bytes;
        let skip = async {
            let mut skipped = 0;
            while let Ok(Some(piece)) = session.read_request_body().await {
                skipped += piece.len();
                if skipped > limit {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(SKIP_TIMEOUT, skip).await;
        session.is_body_done()
    }

    async fn reply(&self, session: &mut ServerSession, reply: Reply) -> Result<(), Gone> {
        self.close_if_draining(session);
        self.write(reply.write(session)).await
    }

    /// To be called before the header of each answer.
    fn close_if_draining(&self, session: &mut ServerSession) {
        if self.drain.has_begun() {
            session.set_keepalive(None);
        }
    }

    async fn serve_queue(&self, session: &mut ServerSession, class: Class) -> Result<(), Gone> {
        let arrived = self.dispatcher.now();
        let (place, request, _body) = match self.admit(session, arrived, class).await {
            Ok(admitted) => admitted,
            Err(NoBody::Gone) => return Err(Gone),
            Err(NoBody::Refused(reply)) => return self.reply(session, reply).await,
        };
        self.carry(session, place, &request).await
    }

    /// Reads the body, finds the queue, and enters it.
    async fn admit(
        &self,
        session: &mut ServerSession,
        arrived: Duration,
        class: Class,
    ) -> Result<(Place, Outgoing, body::Body), NoBody> {
        let timeout = self.timeout_of(session, class).map_err(NoBody::Refused)?;
        let body = self.bodies.read(session, timeout).await?;
        let model = model_of(&body.bytes).map_err(NoBody::Refused)?;
        let request =
            Outgoing::new(session.req_header(), body.bytes.clone()).map_err(|_| NoBody::Gone)?;
        let ask = Ask {
            arrived,
            deadline: arrived + timeout,
            bytes: request.body_bytes(),
            cost: cost_of(session.req_header().uri.path(), &body.bytes),
            class,
        };
        let place = self.dispatcher.enter(model.as_deref(), ask);
        let place = place.map_err(|error| {
            NoBody::Refused(match error {
                NotEntered::NoSuchModel(reason) => {
                    Reply::no_such_model(reason, model.as_deref(), &self.known_models())
                }
                NotEntered::Refused(refusal) => Reply::refused(refusal),
            })
        })?;
        Ok((place, request, body))
    }

    fn timeout_of(&self, session: &ServerSession, class: Class) -> Result<Duration, Reply> {
        let (default, longest) = self.classes.timeouts(class);
        let Some(asked) = session.get_header(TIMEOUT_HEADER) else {
            return Ok(default);
        };
        let asked: Option<u64> = asked
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse().ok());
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
        session: &mut ServerSession,
        mut place: Place,
        request: &Outgoing,
    ) -> Result<(), Gone> {
        let left = place.left();
        let answer = tokio::select! {
            answer = tokio::time::timeout(left, self.answer(&mut place, request)) => answer,
            () = has_left(session) => return Err(Gone),
        };
        match answer {
            Ok(Some(answer)) => self.pass_on(session, place, answer).await,
            Ok(None) => {
                place.leave(Outcome::Failed);
                self.reply(session, Reply::workers_failed()).await
            }
            Err(_) => {
                place.leave(Outcome::Expired);
                self.reply(session, Reply::expired()).await
            }
        }
    }

    /// Tries worker after worker until one answers; `None` when the request is given up.
    async fn answer(&self, place: &mut Place, request: &Outgoing) -> Option<Answer> {
        let mut deaths = 0;
        loop {
            match self.try_once(place, request).await {
                ControlFlow::Break(answer) => return Some(answer),
                ControlFlow::Continue(attempt_error) => {
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

    async fn try_once(
        &self,
        place: &mut Place,
        request: &Outgoing,
    ) -> ControlFlow<Answer, AttemptError> {
        let Placement { address, .. } = place.turn().await;
        match self.forwarder.ask(address, request, place.left()).await {
            Ok(answer) => ControlFlow::Break(answer),
            Err(attempt_error) => {
                tracing::debug!(%address, ?attempt_error, "a try failed");
                ControlFlow::Continue(attempt_error)
            }
        }
    }

    /// Passes an answer on. The permit is given back with the last byte from the worker, before
    /// a slow client has taken it.
    async fn pass_on(
        &self,
        session: &mut ServerSession,
        place: Place,
        mut answer: Answer,
    ) -> Result<(), Gone> {
        let Some(header) = answer.header(session.req_header().version) else {
            place.leave(Outcome::Failed);
            return Err(Gone);
        };
        self.close_if_draining(session);
        self.write(session.write_response_header(Box::new(header)))
            .await?;
        loop {
            let piece = tokio::select! {
                piece = answer.piece() => piece,
                () = has_left(session) => return Err(Gone),
            };
            let (bytes, last) = match piece {
                Ok(Some(piece)) => piece,
                Ok(None) => (Bytes::new(), true),
                Err(_) => {
                    place.leave(Outcome::Failed);
                    return Err(Gone);
                }
            };
            if last {
                place.leave(Outcome::Answered);
                self.forwarder.release(answer).await;
                return self.write(session.write_response_body(bytes, true)).await;
            }
            self.write(session.write_response_body(bytes, false))
                .await?;
        }
    }

    /// A client that takes nothing for too long counts as gone.
    async fn write(
        &self,
        write: impl Future<Output = pingora_core::Result<()>>,
    ) -> Result<(), Gone> {
        match tokio::time::timeout(*self.config.clients.write_timeout, write).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

/// Ends when the client closes its connection; the request's body must have been read.
async fn has_left(session: &mut ServerSession) {
    while let Ok(Some(_)) = session.read_body_or_idle(true).await {}
}

#[async_trait]
impl HttpServerApp for Frontend {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let _connection = self.connections.try_acquire().ok()?;
        // What a client sends after its request is the next one, not a sign that it has left.
        session.set_pipelining_enabled(true);
        if !self.greet(&mut session).await {
            return None;
        }
        let _unfinished = self.drain.request();
        if *shutdown.borrow() {
            session.set_keepalive(None);
        } else if session.get_keepalive().is_some() {
            session.set_keepalive(Some(self.config.clients.idle.as_secs()));
        }
        if self.serve(&mut session).await == Connection::Broken {
            session.shutdown().await;
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}
