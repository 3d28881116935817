//! `up`: the scaler with this machine as its fleet, and the proxy in front of it. It serves one
//! model or several, each by a policy and a fleet of its own; they share the cores.
//!
//! Everything that is written while it runs is in one private directory, which goes away with it.
//!
//! Shutdown, on Ctrl-C, SIGTERM or when the terminal closes: the proxy takes nothing new and
//! answers what it has accepted while the workers still serve; then the workers stop; then the
//! directory is removed. Asked once more, everything is stopped at once.

mod directory;
mod greeting;
mod models;
mod proxy;
mod served;
mod terminal;

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::by_fleet::of_fleet;
use crate::clock::Clock;
use crate::fleet::process::cores;
use crate::run::Stop;
use crate::server;
use crate::{metrics, paths};
use directory::RunDirectory;
use greeting::Greeting;
use proxy::Proxy;
use served::Served;
use terminal::Terminal;

/// How often someone who waits for the first worker is told that it is still loading.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the proxy is looked at.
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
    #[error("the model {model} is not there (process.model in {config}); `make up` fetches it")]
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
    let listener = server::bind(first.file.scaler.listen).await?;

    let clock = Clock::start();
    let directory = RunDirectory::new()?;
    let terminal = Terminal::new(clock);
    let mut stop = Stops::new()?;
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    let mut proxy = Proxy::new(binary, &rules, &names, &directory);
    let handle = metrics::install()?;
    let max = models.iter().map(|model| model.file.fleet.max).sum();
    let (mut served, mut inboxes) = (Vec::new(), Vec::new());
    for (model, share) in models.iter().zip(shares) {
        let one = async { Served::new(model, (share, max), clock, &directory, &terminal) };
        let (one, inbox) = of_fleet(model.label.clone(), one).await?;
        served.push((model.label.clone(), one));
        inboxes.push(inbox);
    }
    let ticks = served.iter().map(|(_, one)| one.ticks.subscribe());
    let server = server::serve(listener, handle, ticks.collect(), inboxes);

    terminal.say(&format!("starting the proxy on {}", rules.listen));
    let started = tokio::select! {
        started = proxy.start(clock.now()) => started,
        () = stop.asked() => Ok(()),
    };
    if started.is_ok() && !stop.was_asked {
        let greeting = Greeting::new(&models, &directory);
        terminal.say(&greeting.begin);
        work(&mut served, &mut proxy, &greeting, &mut stop, clock).await;
        terminal.say("stopping: what was accepted is answered first; Ctrl-C again stops at once");
    }
    end(&mut proxy, &mut served, &mut stop).await;
    server.abort();
    started?;
    drop(directory);
    terminal.say("stopped");
    Ok(())
}

/// A model's fleet, and its name where there are others.
type Labelled = (Option<String>, Served);

/// All fleets tick, and the proxy is kept alive, until asked to stop.
async fn work(
    served: &mut [Labelled],
    proxy: &mut Proxy,
    greeting: &Greeting,
    stop: &mut Stops,
    clock: Clock,
) {
    let serves = Cell::new(!greeting.waits);
    let (stopping, stopped) = watch::channel(false);
    let fleets = served.iter_mut().map(|(label, one)| {
        let work = one.work(&serves, stopped.clone());
        of_fleet(label.clone(), work)
    });
    let beside = async {
        tokio::select! {
            () = keep(proxy, greeting, &serves, clock) => {}
            () = stop.asked() => {}
        }
        stopping.send_replace(true);
    };
    tokio::join!(join_all(fleets), beside);
}

/// Watches the proxy, and greets once clients can be served.
async fn keep(proxy: &mut Proxy, greeting: &Greeting, serves: &Cell<bool>, clock: Clock) {
    let terminal = Terminal::new(clock);
    let mut greeted = false;
    let mut reminder = tokio::time::interval_at(Instant::now() + PATIENCE, PATIENCE);
    let mut interval = tokio::time::interval(WATCH_EVERY);
    loop {
        tokio::select! {
            _ = interval.tick() => {
                proxy.watch(clock.now(), &terminal).await;
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

/// First the proxy, which still needs the workers, then the workers.
async fn end(proxy: &mut Proxy, served: &mut [Labelled], stop: &mut Stops) {
    let in_order = async {
        proxy.stop().await;
        close(served).await;
    };
    tokio::select! {
        () = in_order => return,
        () = stop.asked() => {}
    }
    proxy.abandon();
    (served.iter_mut()).for_each(|(_, one)| one.scaler.abandon());
    proxy.stop().await;
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
