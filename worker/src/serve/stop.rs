//! What ends the process: SIGTERM, SIGINT, and the end of standard input if watched.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Set up before anything that takes time, so that no signal is missed.
#[derive(Debug)]
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
    input_ended: Option<mpsc::Receiver<()>>,
}

/// Whether the end of standard input counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandardInput {
    Watched,
    Ignored,
}

impl Stop {
    /// Must be called within the runtime.
    pub fn new(input: StandardInput) -> std::io::Result<Stop> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            input_ended: match input {
                StandardInput::Watched => Some(watch_input()?),
                StandardInput::Ignored => None,
            },
        })
    }

    /// Waits until one of them says so, and returns which.
    pub async fn asked(&mut self) -> &'static str {
        let input_ended = async {
            match &mut self.input_ended {
                Some(ended) => drop(ended.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = input_ended => "standard input ended",
        }
    }
}

/// Reads standard input to its end on a thread of its own, which ends with the process.
fn watch_input() -> std::io::Result<mpsc::Receiver<()>> {
    let (ended, receiver) = mpsc::channel(1);
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            // An error is an end as well.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            drop(ended);
        })?;
    Ok(receiver)
}
