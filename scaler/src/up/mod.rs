//! `up`: the scaler with this machine as its fleet, and the proxy in front of it.
//!
//! Everything that is written while it runs is in one private directory, which goes away with it.
//!
//! Shutdown, on Ctrl-C, SIGTERM or when the terminal closes: the proxy takes nothing new and
//! answers what it has accepted while the workers still serve; then the workers stop; then the
//! directory is removed. Asked once more, everything is stopped at once.

mod desk;
mod proxy;
mod screen;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{PolicyFile, ProcessRules, UpRules};
use crate::overrides::{Counter, Wishes};
use crate::run::{self, Mode, Station, Stop, Unusable};
use crate::scaler::Scaler;
use crate::server::{self, LastTick};
use crate::{metrics, place};
use desk::Desk;
use proxy::Proxy;
use screen::Screen;

/// How often someone who waits for the first worker is told that it is still loading.
const PATIENCE: Duration = Duration::from_secs(10);

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
}

/// Serves until told to stop.
pub async fn up(config: &Path) -> anyhow::Result<()> {
    let file: PolicyFile = tidegate_config::load(config)?;
    let (Some(rules), Some(process)) = (file.up.clone(), file.process.clone()) else {
        return Err(Unusable::ForRun(config.to_owned()).into());
    };
    let binary = place::binary(rules.proxy_binary.as_deref(), "tidegate-proxy")?;
    check_model(&process, config)?;
    check_port("up.listen", rules.listen, config)?;
    check_port("up.admin", rules.admin, config)?;
    let listener = server::bind(file.scaler.listen).await?;

    let clock = Clock::start();
    let desk = Desk::new()?;
    let screen = Screen::new(clock);
    let mut stop = Stops::new()?;
    let mut proxy = Proxy::new(binary, &rules, &process.model_name(), &desk);
    let mut station = station(file, &rules, &desk, screen);
    let mut scaler = station.assemble(&clock)?;
    let ticks = LastTick::new(None);
    let (counter, mut wishes) = Counter::new("up", station.operator_tokens.clone());
    let server = server::serve(
        listener,
        metrics::install()?,
        vec![ticks.subscribe()],
        vec![counter],
    );

    screen.say(&format!("starting the proxy on {}", rules.listen));
    let started = tokio::select! {
        started = proxy.start(clock.now()) => started,
        () = stop.asked() => Ok(()),
    };
    if started.is_ok() && !stop.was_asked {
        let greeting = Greeting::new(&station.file, &rules, &process, &desk);
        let mut shift = Shift {
            scaler: &mut scaler,
            proxy: &mut proxy,
            screen,
            clock,
            ticks: &ticks,
            wishes: &mut wishes,
        };
        shift.work(greeting, &mut stop).await;
        screen.say("stopping: what was accepted is answered first; Ctrl-C again stops at once");
    }
    end(&mut proxy, &mut scaler, &mut stop).await;
    server.abort();
    started?;
    drop(desk);
    screen.say("stopped");
    Ok(())
}

/// The scaler and the proxy at work.
struct Shift<'a> {
    scaler: &'a mut Scaler,
    proxy: &'a mut Proxy,
    screen: Screen,
    clock: Clock,
    ticks: &'a LastTick,
    wishes: &'a mut Wishes,
}

impl Shift<'_> {
    /// Ticks until asked to stop.
    async fn work(&mut self, greeting: Greeting, stop: &mut Stops) {
        let screen = self.screen;
        screen.say(&format!("loading {}", greeting.model));
        let mut greeting = Some(greeting);
        let mut reminder = tokio::time::interval_at(Instant::now() + PATIENCE, PATIENCE);
        let mut interval = run::ticking();
        loop {
            tokio::select! {
                _ = interval.tick() => {
                    self.scaler.tick(self.clock.now()).await;
                    self.ticks.send_replace(Some(Instant::now()));
                    self.proxy.watch(self.clock.now(), screen).await;
                    if self.scaler.serving() > 0 && let Some(greeting) = greeting.take() {
                        screen.greet(&greeting.text);
                    }
                }
                Some(wish) = self.wishes.recv() => wish.grant(self.clock.now(), self.scaler),
                _ = reminder.tick(), if greeting.is_some() => {
                    screen.say("still waiting for the first worker");
                }
                () = stop.asked() => return,
            }
        }
    }
}

/// First the proxy, which still needs the workers, then the workers.
async fn end(proxy: &mut Proxy, scaler: &mut Scaler, stop: &mut Stops) {
    let in_order = async {
        proxy.stop().await;
        scaler.close().await;
    };
    tokio::select! {
        () = in_order => return,
        () = stop.asked() => {}
    }
    proxy.abandon();
    scaler.abandon();
    proxy.stop().await;
    scaler.close().await;
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

fn station(mut file: PolicyFile, rules: &UpRules, desk: &Desk, screen: Screen) -> Station {
    let ledger = &mut file.scaler.ledger;
    ledger.get_or_insert_with(|| desk.file("ledger.jsonl"));
    if let Some(process) = &mut file.process {
        process.logs.get_or_insert_with(|| desk.path().to_owned());
    }
    Station {
        file,
        proxies: vec![format!("http://{}", rules.admin)],
        operator_tokens: desk.operator_tokens(),
        worker_tokens: desk.worker_tokens(),
        mode: Mode::Act,
        tell: Box::new(screen),
    }
}

/// What is said once the first worker is ready.
struct Greeting {
    model: String,
    text: String,
}

impl Greeting {
    fn new(file: &PolicyFile, rules: &UpRules, process: &ProcessRules, desk: &Desk) -> Greeting {
        let (listen, admin) = (rules.listen, rules.admin);
        let own = file.scaler.listen;
        let model = process.model_name();
        let logs = desk.path().display();
        let text = format!(
            "
{model} is served on http://{listen}. Try:

  curl http://{listen}/v1/embeddings -H 'content-type: application/json' -d '{{\"model\": \"{model}\", \"input\": \"High tide at noon\"}}'

Metrics: http://{admin}/metrics (proxy), http://{own}/metrics (scaler). Logs: {logs}
From here on, one line for each scaling decision. Ctrl-C stops.
"
        );
        Greeting { model, text }
    }
}

fn check_model(process: &ProcessRules, config: &Path) -> Result<(), UpError> {
    let is_remote = process.model.contains("://");
    match is_remote || Path::new(&process.model).exists() {
        true => Ok(()),
        false => Err(UpError::NoModel {
            model: process.model.clone(),
            config: config.display().to_string(),
        }),
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
