//! Puts the daemon together and runs it.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use async_trait::async_trait;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server, ShutdownWatch};
use pingora_core::services::background::{BackgroundService, background_service};
use pingora_core::services::listening::Service;
use tidegate_config::Tokens;
use tidegate_http::Limits;

use crate::access::AccessLog;
use crate::admin::{self, Admin};
use crate::answers::Answers;
use crate::backend::Backend;
use crate::command::Command;
use crate::config::Config;
use crate::descriptors;
use crate::dispatch::Dispatcher;
use crate::drain::{Drain, StopSignal};
use crate::frontend::Frontend;
use crate::metrics;
use tidegate_keys::{self as keys, KeyRing};
use tidegate_telemetry::Telemetry;

/// How long a connection to the admin port may be silent: far longer than between heartbeats.
const ADMIN_IDLE: Duration = Duration::from_secs(30);

/// Runs until the process is asked to end and its last request is answered.
pub fn serve(command: &Command) -> anyhow::Result<()> {
    let descriptors = descriptors::raise();
    let config = command.config()?;
    if command.check {
        println!(
            "{} is valid",
            command.config.clone().unwrap_or_default().display()
        );
        return Ok(());
    }
    let telemetry = tidegate_telemetry::start("tidegate-proxy")?;
    let worker_tokens = Tokens::read(&config.tokens.worker)?;
    let operator_tokens = Tokens::read(&config.tokens.operator)?;
    let keys = config.clients.api_keys_file.as_deref();
    let keys = keys.map(KeyRing::read).transpose()?.map(Arc::new);
    is_free(config.listen, "listen")?;
    let admin_socket = is_free(config.admin, "admin")?;

    let access = AccessLog::start(&config.access)?;
    let dispatcher = Dispatcher::new(config.registry(), access);
    let drain = Drain::new();
    let connections = config.clients.connections;
    let connections = connections.unwrap_or_else(|| descriptors::clients(descriptors));
    let token = worker_tokens.current();
    let backend = Backend::new(&config.name, token, &config.workers, connections / 3);
    let answers = Arc::new(Answers::new(&config.routes));
    let frontend = Frontend::new(
        config.clone(),
        connections,
        Arc::clone(&dispatcher),
        backend,
        Arc::clone(&drain),
        keys.clone(),
        Arc::clone(&answers),
    );
    let backstage = Backstage {
        socket: admin_socket,
        admin_limits: Limits {
            connections: descriptors::admin(descriptors, connections),
            header_time: ADMIN_IDLE,
            ..Limits::default()
        },
        drain_limit: *config.drain_limit,
        keys: keys.clone(),
        telemetry: Mutex::new(telemetry),
        pool: Mutex::new(Some(Box::pin(frontend.backend().keep_fresh()))),
        admin: Arc::new(Admin {
            proxy: config.name.clone(),
            epoch: epoch(),
            dispatcher: Arc::clone(&dispatcher),
            drain: Arc::clone(&drain),
            worker_tokens,
            operator_tokens,
            announce_from: config.workers.announce_from.clone(),
            answers,
            metrics: metrics::install().context("cannot record metrics")?,
            published: Mutex::default(),
        }),
    };
    tracing::info!(listen = %config.listen, admin = %config.admin, "serving");
    run(command, config, backstage, frontend)
}

fn run(
    command: &Command,
    config: Config,
    backstage: Backstage,
    frontend: Frontend,
) -> anyhow::Result<()> {
    let conf = ServerConf {
        // The backstage ends the process before this; pingora sleeps for the whole of it.
        grace_period_seconds: Some(config.drain_limit.as_secs() + 5),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::new().context("no default config of pingora")?
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut clients = Service::new("clients".to_owned(), frontend);
    // Reads go into a buffer of the thread's own, and answers are written whole.
    let unbuffered = L4BufferSettings::unbuffered();
    clients.add_listener(ListenerConfig::tcp(config.listen.to_string()).l4_buffer(unbuffered));
    clients.threads = Some(config.threads);
    server.add_service(clients);
    server.add_service(background_service("backstage", backstage));
    server.run(RunArgs {
        shutdown_signal: Box::new(StopSignal {
            watch_stdin: command.watch_stdin,
        }),
    });
    Ok(())
}

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The admin port, the dispatcher's clock, and the end of the process.
struct Backstage {
    socket: TcpListener,
    /// Closes the connections to workers that nobody uses.
    pool: Mutex<Option<BoxFuture>>,
    admin_limits: Limits,
    drain_limit: Duration,
    keys: Option<Arc<KeyRing>>,
    telemetry: Mutex<Telemetry>,
    admin: Arc<Admin>,
}

#[async_trait]
impl BackgroundService for Backstage {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let admin = Arc::clone(&self.admin);
        let dispatcher = Arc::clone(&self.admin.dispatcher);
        tokio::spawn(async move { dispatcher.keep_fresh().await });
        tokio::spawn(metrics::keep_small(admin.metrics.clone()));
        let pool = self
            .pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(pool) = pool {
            tokio::spawn(pool);
        }
        if let Some(keys) = &self.keys {
            tokio::spawn(Arc::clone(keys).keep_fresh());
        }
        let socket = self.socket.try_clone().and_then(|socket| {
            socket.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(socket)
        });
        let _server = match socket {
            // It serves to the very end; the process takes it along.
            Ok(socket) => {
                tidegate_http::Server::on(socket, admin::routes(admin), &self.admin_limits)
            }
            Err(error) => {
                eprintln!("tidegate-proxy: the admin port failed: {error}");
                std::process::exit(1);
            }
        };
        let _ = shutdown.wait_for(|begun| *begun).await;
        self.admin.drain.begin();
        let cut = self.admin.drain.finish(self.drain_limit).await;
        self.admin.dispatcher.flush();
        (self.telemetry.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .finish();
        match cut {
            0 => std::process::exit(0),
            cut => {
                tracing::error!(cut, "requests were unfinished at the drain limit");
                std::process::exit(1);
            }
        }
    }
}

/// Asks the proxy of this machine whether it serves.
pub fn probe(admin: SocketAddr) -> anyhow::Result<()> {
    use std::io::{Read, Write};
    let limit = Duration::from_secs(2);
    let mut stream = std::net::TcpStream::connect_timeout(&admin, limit)
        .with_context(|| format!("nothing answers on {admin}"))?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET /healthz HTTP/1.0\r\nhost: {admin}\r\n\r\n")?;
    let mut status = [0; 12];
    stream
        .read_exact(&mut status)
        .context("no answer to GET /healthz")?;
    if !status.ends_with(b"200") {
        bail!("not serving: {}", String::from_utf8_lossy(&status));
    }
    Ok(())
}

/// Prints a new key to give away, and the line to keep.
pub fn make_key(name: &str) -> anyhow::Result<()> {
    if name.is_empty() || name.chars().any(char::is_control) {
        bail!("a name is one line of text that is not empty");
    }
    let (key, line) = keys::make(name).context("no random bytes from /dev/urandom")?;
    println!("key, for the client: {key}");
    println!("line, for clients.api_keys_file: {line}");
    Ok(())
}

/// Binds an address to say plainly when it is taken: pingora would panic in a thread.
fn is_free(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address} (`{key}`)"))
}

/// Different for each start of this process, in order of time.
fn epoch() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{}-{}", since.as_millis(), std::process::id())
}
