//! The HTTP/1.1 server of every daemon: takes connections up to a limit, bounds each header in
//! time and size and each answer in time, refuses what is not HTTP/1.1, and when it is stopped, finishes
//! the requests under way.
//!
//! It knows no routes and no configuration file; whoever starts it brings a router and limits.

mod patient;
mod refusal;
mod request_id;
mod strict;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tidegate_protocol::api::Dialect;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tower_service::Service;
use tracing::{debug, info, warn};

pub use self::request_id::{RequestId, identify};

use self::patient::Patient;
use self::refusal::refusal;
use self::strict::{FAULTY, Found, Strict};

/// How long nothing is accepted after that failed, which it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more are closed.
    pub connections: usize,
    /// Time for a request's header to arrive, from when its connection has nothing else to do.
    pub header_time: Duration,
    /// Bytes that a connection buffers on either way, and so of a header; a larger header is
    /// answered with 431. At least 8 KiB.
    pub buffer_bytes: usize,
    /// Fields of a header; more are answered with 431.
    pub header_fields: usize,
    /// Time for a client to take as many bytes of an answer as its connection buffers.
    pub write_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 1024,
            header_time: Duration::from_secs(60),
            buffer_bytes: 32 << 10,
            header_fields: 100,
            write_time: Duration::from_secs(60),
        }
    }
}

/// The server's task, and how to end it.
#[derive(Debug)]
pub struct Server {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Its connections, and what each of them needs.
struct Connections {
    router: Router,
    http: http1::Builder,
    limits: Limits,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
    /// Whether the last connection was refused.
    full: bool,
}

impl Server {
    /// Listens, and serves from now on; also says where.
    pub async fn start(
        address: SocketAddr,
        router: Router,
        limits: &Limits,
    ) -> io::Result<(Server, SocketAddr)> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let server = Server::on(listener, router, limits);
        info!(%address, "listening");
        Ok((server, address))
    }

    /// Serves what comes to a listener; to be called within a runtime.
    pub fn on(listener: TcpListener, router: Router, limits: &Limits) -> Server {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.header_time)
            .max_buf_size(limits.buffer_bytes)
            .max_headers(limits.header_fields);
        let connections = Connections {
            router,
            http,
            limits: *limits,
            places: Arc::new(Semaphore::new(limits.connections)),
            graceful: GracefulShutdown::new(),
            tasks: JoinSet::new(),
            full: false,
        };
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(connections.run(listener, ended));
        Server { end, task }
    }

    /// Takes nothing new, and waits for the last answers, but not longer than `patience`.
    pub async fn finish(self, patience: Duration) {
        let _ = self.end.send(());
        let mut task = self.task;
        if tokio::time::timeout(patience, &mut task).await.is_err() {
            warn!("connections were still open at shutdown");
            // Its connections end with it.
            task.abort();
        }
    }
}

impl Connections {
    async fn run(mut self, listener: TcpListener, mut ended: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                // A dropped sender ends it as well.
                _ = &mut ended => break,
                Some(_) = self.tasks.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((connection, peer)) => self.take(connection, peer),
                    Err(error) => {
                        warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        self.graceful.shutdown().await;
        self.tasks.join_all().await;
    }

    /// Serves a connection, or closes it when there are too many.
    fn take(&mut self, connection: TcpStream, peer: SocketAddr) {
        let place = self.places.clone().try_acquire_owned();
        if place.is_err() && !self.full {
            warn!("the limit of connections is reached; new ones are closed");
        }
        self.full = place.is_err();
        if let Ok(place) = place {
            self.serve(connection, peer, place);
        }
    }

    fn serve(&mut self, connection: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        // Answers are small and complete: waiting to send more at once would only delay them.
        if let Err(error) = connection.set_nodelay(true) {
            debug!(%error, "TCP_NODELAY cannot be set on a connection");
        }
        let found = Found::default();
        let (router, faults) = (self.router.clone(), found.clone());
        let service = service_fn(move |request| {
            let answer = answer(router.clone(), request, peer, faults.clone());
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let Limits {
            write_time,
            buffer_bytes,
            header_fields,
            ..
        } = self.limits;
        let heads = tidegate_http1::Limits {
            bytes: buffer_bytes,
            fields: header_fields,
        };
        let connection = Patient::new(connection, write_time, buffer_bytes);
        let connection = TokioIo::new(Strict::new(connection, heads, found));
        let serving = self.http.serve_connection(connection, service);
        let serving = self.graceful.watch(serving);
        self.tasks.spawn(async move {
            if let Err(error) = serving.await {
                debug!(%error, "a connection broke");
            }
            drop(place);
        });
    }
}

/// Answers one request; routes may ask with `ConnectInfo` who sent it.
async fn answer(
    mut router: Router,
    mut request: Request<Incoming>,
    peer: SocketAddr,
    faults: Found,
) -> Response {
    if let Some((fault, dialect)) = faults.in_head().filter(|_| request.method() == FAULTY) {
        return refusal(fault, dialect);
    }
    let uri = request.uri().clone();
    request.extensions_mut().insert(ConnectInfo(peer));
    let Ok(answer) = router.call(request).await;
    match faults.in_body() {
        Some(fault) => refusal(fault, Dialect::of(uri.path())),
        None => answer,
    }
}
