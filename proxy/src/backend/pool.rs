//! Connections to workers: opened when needed, kept by address while they are idle.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pingora_core::protocols::TcpKeepalive;
use pingora_core::protocols::l4::ext::{connect, set_tcp_keepalive};
use tokio::net::TcpStream;

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(1);

pub(super) struct PoolConfig {
    pub(super) connect_timeout: Duration,
    pub(super) unreachable: Duration,
    pub(super) idle: Duration,
    /// Most idle connections.
    pub(super) connections: usize,
}

pub(super) struct Pool {
    config: PoolConfig,
    idle: Mutex<HashMap<SocketAddr, Vec<Idle>>>,
    count: AtomicUsize,
}

struct Idle {
    stream: TcpStream,
    since: Instant,
}

/// Why there is no connection.
pub(super) enum NoConnection {
    /// The worker cannot be reached.
    Unreachable,
    /// This process or machine has no more descriptors or ports.
    TooMany,
}

impl Pool {
    pub(super) fn new(config: PoolConfig) -> Self {
        Pool {
            config,
            idle: Mutex::default(),
            count: AtomicUsize::new(0),
        }
    }

    /// A connection to a worker, and whether it was used before.
    pub(super) async fn get(&self, worker: SocketAddr) -> Result<(TcpStream, bool), NoConnection> {
        while let Some(stream) = self.take(worker) {
            if is_quiet(&stream) {
                return Ok((stream, true));
            }
        }
        self.open(worker).await.map(|stream| (stream, false))
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, worker: SocketAddr, stream: TcpStream) {
        if self.count.load(Ordering::Relaxed) >= self.config.connections {
            return;
        }
        let since = Instant::now();
        let idle = Idle { stream, since };
        self.count.fetch_add(1, Ordering::Relaxed);
        self.lock().entry(worker).or_default().push(idle);
    }

    /// Closes what was idle for too long or was closed by the other side.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        let mut interval = tokio::time::interval(SWEEP);
        loop {
            interval.tick().await;
            let closed = self.sweep();
            self.count.fetch_sub(closed.len(), Ordering::Relaxed);
        }
    }

    /// Takes them out; they are closed by the caller, outside the lock.
    fn sweep(&self) -> Vec<Idle> {
        let now = Instant::now();
        let mut closed = Vec::new();
        let mut idle = self.lock();
        for connections in idle.values_mut() {
            let old = |idle: &Idle| now.duration_since(idle.since) >= self.config.idle;
            closed.extend(connections.extract_if(.., |idle| old(idle) || !is_quiet(&idle.stream)));
        }
        idle.retain(|_, connections| !connections.is_empty());
        closed
    }

    /// The one that was used last: it is the least likely to be closed, and the others grow old.
    fn take(&self, worker: SocketAddr) -> Option<TcpStream> {
        let taken = self.lock().get_mut(&worker)?.pop()?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(taken.stream)
    }

    async fn open(&self, worker: SocketAddr) -> Result<TcpStream, NoConnection> {
        let opened = tokio::time::timeout(self.config.connect_timeout, connect(&worker, None));
        let stream = match opened.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(no_connection(&error)),
            Err(_) => return Err(NoConnection::Unreachable),
        };
        let unreachable = self.config.unreachable;
        // Probes while nothing is on its way, the user timeout while something is.
        let keepalive = TcpKeepalive {
            idle: unreachable / 2,
            interval: unreachable / 4,
            count: 2,
            user_timeout: unreachable,
        };
        let set =
            set_tcp_keepalive(&stream, &keepalive).is_ok() && stream.set_nodelay(true).is_ok();
        match set {
            true => Ok(stream),
            false => Err(NoConnection::Unreachable),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the other side has neither closed the connection nor said anything on it.
fn is_quiet(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn no_connection(error: &pingora_core::Error) -> NoConnection {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const EADDRNOTAVAIL: i32 = 99;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.root_cause());
    let mut code = None;
    while let (Some(error), None) = (cause, code) {
        code = error.downcast_ref().and_then(io::Error::raw_os_error);
        cause = error.source();
    }
    match code {
        Some(EMFILE | ENFILE | EADDRNOTAVAIL) => NoConnection::TooMany,
        _ => NoConnection::Unreachable,
    }
}
