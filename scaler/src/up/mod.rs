//! `up`: the scaler with this machine as its fleet, and the proxy in front of it. It serves one
//! model or several, each by a policy and a fleet of its own; they share the cores.
//!
//! Everything that is written while it runs is in one private directory, which goes away with it;
//! but for the files and batches of the batch service, which go on with the next start.
//!
//! Shutdown, on Ctrl-C, SIGTERM or when the terminal closes: the batch service stops; the proxy takes nothing new and
//! answers what it has accepted while the workers still serve; then the workers stop; then the
//! directory is removed. Asked once more, everything is stopped at once.

mod daemon;
mod directory;
mod greeting;
mod models;
mod served;
mod terminal;

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use tidegate_control::Time;
use tidegate_policy::UpRules;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::by_fleet::of_fleet;
use crate::clock::Clock;
use crate::fleet::process::cores;
use crate::run::Stop;
use crate::server::{self, Others};
use crate::{metrics, paths};
use daemon::{Daemon, DaemonError};
use directory::RunDirectory;
use greeting::Greeting;
use served::Served;
use terminal::Terminal;

/// How often someone who waits for the first worker reads that it is still loading.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the daemons are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error(
        "port {} is in use ({key} = \"{address}\"): stop what listens there, \
         or change {key} in {config}",
        address.port()
    )]
    PortInUse {
        key: &'static str,
        address: SocketAddr,
        config: String,
    },
    #[error("cannot listen on {address} ({key} in {config}): {cause}")]
    Port {
        key: &'static str,
        address: SocketAddr,
        config: String,
        cause: std::io::Error,
    },
    #[error("the model {model} does not exist (process.model in {config}); `make up` downloads it")]
    NoModel { model: String, config: String },
    #[error(
        "{models} models need {needed} cores, one each or their fleet.min, and this machine has \
         {cores}; serve fewer, or set process.oversubscribe in each"
    )]
    Cores {
        models: usize,
        needed: u32,
        cores: u32,
    },
}

/// Serves until told to stop.
pub async fn up(configs: &[PathBuf]) -> anyhow::Result<()> {
    let models = models::load(configs)?;
    let Some(first) = models.first() else {
        return Ok(());
    };
    let rules = first.rules.clone();
    let binary = paths::binary(rules.proxy_binary.as_deref(), "tidegate-proxy")?;
    let shares = models::shares(&models, cores())?;
    models::check_present(&models)?;
    check_port("up.listen", rules.listen, &first.path)?;
    check_port("up.admin", rules.admin, &first.path)?;
    if let Some(batch) = &rules.batch {
        check_port("up.batch.listen", batch.listen, &first.path)?;
    }
    let listener = server::bind(first.file.scaler.listen, &first.path).await?;

    let clock = Clock::start();
    let directory = RunDirectory::new()?;
    let terminal = Terminal::new(clock.clone());
    let mut stop = Stops::new()?;
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    let mut daemons = Daemons {
        proxy: Daemon::proxy(binary, &rules, &names, &directory),
        batch: batch(&rules, &directory)?,
    };
    let handle = metrics::install()?;
    let max = models.iter().map(|model| model.file.fleet.max).sum();
    let (mut served, mut inboxes) = (Vec::new(), Vec::new());
    for (model, share) in models.iter().zip(shares) {
        let one = async { Served::new(model, (share, max), &clock, &directory, &terminal) };
        let (one, inbox) = of_fleet(model.label.clone(), one).await?;
        served.push((model.label.clone(), one));
        inboxes.push(inbox);
    }
    let ticks = served.iter().map(|(_, one)| one.ticks.subscribe());
    let boards = served.iter().map(|(_, one)| one.board.clone());
    let others = Others {
        clients: Some(format!("http://{}", rules.listen)),
        batch: (rules.batch.as_ref()).map(|batch| format!("http://{}", batch.listen)),
    };
    let (ticks, boards) = (ticks.collect(), boards.collect());
    let server = server::serve(listener, handle, ticks, inboxes, boards, others);

    terminal.say(&format!("starting the proxy on {}", rules.listen));
    let started = tokio::select! {
        started = daemons.start(clock.now()) => started,
        () = stop.asked() => Ok(()),
    };
    if started.is_ok() && !stop.was_asked {
        let greeting = Greeting::new(&models, &directory);
        terminal.say(&greeting.begin);
        work(&mut served, &mut daemons, &greeting, &mut stop, &clock).await;
        terminal.say("stopping: accepted requests are answered first; Ctrl-C again stops at once");
    }
    end(&mut daemons, &mut served, &mut stop).await;
    server.abort();
    started?;
    drop(directory);
    terminal.say("stopped");
    Ok(())
}

/// A model's fleet, and its name where there are others.
type Labelled = (Option<String>, Served);

/// The proxy, and the batch service where the config has one.
struct Daemons {
    proxy: Daemon,
    batch: Option<Daemon>,
}

impl Daemons {
    async fn start(&mut self, now: Time) -> Result<(), DaemonError> {
        self.proxy.start(now).await?;
        match &mut self.batch {
            Some(batch) => batch.start(now).await,
            None => Ok(()),
        }
    }

    async fn watch(&mut self, now: Time, terminal: &Terminal) {
        self.proxy.watch(now, terminal).await;
        if let Some(batch) = &mut self.batch {
            batch.watch(now, terminal).await;
        }
    }

    /// First the batch service, which asks the proxy.
    async fn stop(&mut self) {
        if let Some(batch) = &mut self.batch {
            batch.stop().await;
        }
        self.proxy.stop().await;
    }

    fn abandon(&mut self) {
        self.proxy.abandon();
        if let Some(batch) = &mut self.batch {
            batch.abandon();
        }
    }
}

fn batch(rules: &UpRules, directory: &RunDirectory) -> anyhow::Result<Option<Daemon>> {
    let Some(batch) = &rules.batch else {
        return Ok(None);
    };
    let binary = paths::binary(batch.binary.as_deref(), "tidegate-batch")?;
    Ok(Some(Daemon::batch(binary, batch, rules.listen, directory)))
}

/// All fleets tick, and the daemons are kept alive, until asked to stop.
async fn work(
    served: &mut [Labelled],
    daemons: &mut Daemons,
    greeting: &Greeting,
    stop: &mut Stops,
    clock: &Clock,
) {
    let serves = Cell::new(!greeting.waits);
    let (stopping, stopped) = watch::channel(false);
    let fleets = served.iter_mut().map(|(label, one)| {
        let work = one.work(&serves, stopped.clone());
        of_fleet(label.clone(), work)
    });
    let beside = async {
        tokio::select! {
            () = keep(daemons, greeting, &serves, clock) => {}
            () = stop.asked() => {}
        }
        stopping.send_replace(true);
    };
    tokio::join!(join_all(fleets), beside);
}

/// Watches the daemons, and greets once clients can be served.
async fn keep(daemons: &mut Daemons, greeting: &Greeting, serves: &Cell<bool>, clock: &Clock) {
    let terminal = Terminal::new(clock.clone());
    let mut greeted = false;
    let mut reminder = tokio::time::interval_at(Instant::now() + PATIENCE, PATIENCE);
    let mut interval = tokio::time::interval(WATCH_EVERY);
    loop {
        tokio::select! {
            _ = interval.tick() => {
                daemons.watch(clock.now(), &terminal).await;
                if serves.get() && !std::mem::replace(&mut greeted, true) {
                    terminal.greet(&greeting.text);
                }
            }
            _ = reminder.tick(), if !greeted => {
                terminal.say("still waiting for the first worker");
            }
        }
    }
}

/// First the daemons, which still need the workers, then the workers.
async fn end(daemons: &mut Daemons, served: &mut [Labelled], stop: &mut Stops) {
    let in_order = async {
        daemons.stop().await;
        close(served).await;
    };
    tokio::select! {
        () = in_order => return,
        () = stop.asked() => {}
    }
    daemons.abandon();
    (served.iter_mut()).for_each(|(_, one)| one.scaler.abandon());
    daemons.stop().await;
    close(served).await;
}

async fn close(served: &mut [Labelled]) {
    let fleets = served.iter_mut().map(|(label, one)| {
        let close = one.scaler.close();
        of_fleet(label.clone(), close)
    });
    join_all(fleets).await;
}

/// [`Stop`], and the end of the terminal.
struct Stops {
    stop: Stop,
    hangup: Signal,
    was_asked: bool,
}

impl Stops {
    fn new() -> std::io::Result<Stops> {
        Ok(Stops {
            stop: Stop::new()?,
            hangup: signal(SignalKind::hangup())?,
            was_asked: false,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            () = self.stop.asked() => {}
            _ = self.hangup.recv() => {}
        }
        self.was_asked = true;
    }
}

/// The proxy would say so too, but in its log.
fn check_port(key: &'static str, address: SocketAddr, config: &Path) -> Result<(), UpError> {
    let config = || config.display().to_string();
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(UpError::PortInUse {
            key,
            address,
            config: config(),
        }),
        Err(cause) => Err(UpError::Port {
            key,
            address,
            config: config(),
            cause,
        }),
    }
}
