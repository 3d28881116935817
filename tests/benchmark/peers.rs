//! What a proxied request costs in processor time beside nginx and HAProxy, before the same worker
//! and the same client: 64 connections, small JSON both ways. A peer that is not installed is
//! left out.

use std::path::Path;
use std::process::Command;

use tidegate_tests::{Client, Harness, HarnessConfig, Process, eventually};
use tokio::net::TcpStream;

use crate::overhead::{closed_loop, processor_seconds};

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 3;
/// The promise: at most this much of the better peer's time.
const PROMISED: f64 = 1.5;

const NGINX: &str = "worker_processes 2; daemon off; master_process on; pid DIR/nginx.pid;
error_log DIR/nginx.err; events { worker_connections 1024; }
http { access_log off; client_body_temp_path DIR/1; proxy_temp_path DIR/2; fastcgi_temp_path DIR/3;
uwsgi_temp_path DIR/4; scgi_temp_path DIR/5; keepalive_requests 100000000;
upstream w { server WORKER; keepalive 128; }
server { listen LISTEN; location / { proxy_pass http://w; proxy_http_version 1.1;
proxy_set_header Connection ''; proxy_set_header Authorization 'Bearer TOKEN'; } } }";

const HAPROXY: &str = "global
  nbthread 2
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend f
  bind LISTEN
  http-request set-header Authorization \"Bearer TOKEN\"
  default_backend w
backend w
  server w WORKER maxconn 256 pool-max-conn 512
";

/// Prints microseconds of processor time a request; whether the promise holds.
pub async fn measure() -> bool {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &["--slots", "256"]).await;
    let worker = harness.signal().await.workers[0].address.to_string();
    println!("proxied request, {CONNECTIONS} connections, microseconds of processor time");
    let own = cost(&harness.client(), &[harness.proxy.id()]).await;
    println!("  tidegate {own:.1}");
    let mut best = f64::INFINITY;
    for (peer, config, arguments) in [("nginx", NGINX, &["-c"][..]), ("haproxy", HAPROXY, &["-f"])]
    {
        let listen = free_address();
        let file = harness.dir.path().join(format!("{peer}.conf"));
        let config = config
            .replace("DIR", &harness.dir.path().display().to_string())
            .replace("WORKER", &worker)
            .replace("LISTEN", &listen)
            .replace("TOKEN", harness.worker_token());
        std::fs::write(&file, config).expect("it is written");
        let Some(program) = find(peer) else {
            println!("  {peer} is not installed");
            continue;
        };
        let mut command = Command::new(program);
        command.args(arguments).arg(&file);
        let process = Process::start(
            peer,
            &mut command,
            harness.dir.path().join(format!("{peer}.log")),
        );
        eventually("the peer listens", async || {
            TcpStream::connect(&listen).await.ok().map(drop)
        })
        .await;
        let mut pids = tidegate_tests::children_of(process.id(), peer);
        pids.push(process.id());
        let took = cost(&Client::new(format!("http://{listen}")), &pids).await;
        println!("  {peer} {took:.1}");
        best = best.min(took);
    }
    println!(
        "  tidegate is {:.2} x the better (promised: at most {PROMISED})",
        own / best
    );
    own <= best * PROMISED
}

/// The least of some rounds.
async fn cost(client: &Client, pids: &[u32]) -> f64 {
    let spent = || pids.iter().map(|pid| processor_seconds(*pid)).sum::<f64>();
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let before = spent();
        let (count, _) = closed_loop(client, CONNECTIONS).await;
        least = least.min((spent() - before) * 1e6 / count as f64);
    }
    least
}

fn find(program: &str) -> Option<std::path::PathBuf> {
    let places = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"];
    let mut places = places.iter().map(|place| Path::new(place).join(program));
    places.find(|path| path.exists())
}

fn free_address() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("it is bound").to_string()
}
