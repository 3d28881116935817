//! The end of the process: which requests are unfinished, and when it may exit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long a request that was sent before the listener closed may take to be read.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// Counts the requests between their header and the end of their answer.
pub struct Drain {
    begun: AtomicBool,
    unfinished: watch::Sender<usize>,
}

/// One unfinished request.
pub struct Unfinished(Arc<Drain>);

impl Drain {
    pub fn new() -> Arc<Self> {
        Arc::new(Drain {
            begun: AtomicBool::new(false),
            unfinished: watch::Sender::new(0),
        })
    }

    /// Counts a request until the guard is dropped.
    pub fn request(self: &Arc<Self>) -> Unfinished {
        self.unfinished.send_modify(|count| *count += 1);
        Unfinished(Arc::clone(self))
    }

    pub fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Waits until no request is unfinished, but no longer than `limit`; says how many are.
    pub async fn finish(&self, limit: Duration) -> usize {
        let _ = tokio::time::timeout(limit, self.settle()).await;
        *self.unfinished.borrow()
    }

    /// Empty, and still so after what was on its way has been read.
    async fn settle(&self) {
        let mut unfinished = self.unfinished.subscribe();
        loop {
            let _ = unfinished.wait_for(|count| *count == 0).await;
            let more = unfinished.wait_for(|count| *count > 0);
            if tokio::time::timeout(ON_ITS_WAY, more).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.unfinished.send_modify(|count| *count -= 1);
    }
}

/// What asks this process to end: SIGTERM, SIGINT and, if asked for, the end of standard input.
pub struct StopSignal {
    pub watch_stdin: bool,
}

#[async_trait]
impl ShutdownSignalWatch for StopSignal {
    async fn recv(&self) -> ShutdownSignal {
        tokio::select! {
            () = unix_signal(SignalKind::terminate()) => {}
            () = unix_signal(SignalKind::interrupt()) => {}
            () = stdin_closed(), if self.watch_stdin => {}
        }
        ShutdownSignal::GracefulTerminate
    }
}

async fn unix_signal(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(error) => {
            tracing::error!(%error, "cannot listen for signals");
            std::future::pending::<()>().await;
        }
    }
}

async fn stdin_closed() {
    let mut buffer = [0; 64];
    let mut stdin = tokio::io::stdin();
    while matches!(stdin.read(&mut buffer).await, Ok(read) if read > 0) {}
}
