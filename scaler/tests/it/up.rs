//! `up` through the binary, with scripts that pose as the proxy and the workers.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::daemon::{Daemon, free_port};
use crate::stage::script;

/// Answers every request on its admin port as healthy. (Its signal cannot be read: the scaler reports that.)
const PROXY: &str = r#"
echo "proxy $*" >&2
while [ $# -gt 0 ]; do [ "$1" = --admin ] && admin=$2; shift; done
exec python3 -c '
import http.server, signal, sys
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "3"); self.end_headers()
        self.wfile.write(b"ok\n")
    def log_message(self, *arguments): pass
signal.signal(signal.SIGTERM, lambda *_: (print("proxy told to stop", file=open(sys.argv[2], "a")), sys.exit(0)))
host, port = sys.argv[1].split(":")
http.server.HTTPServer((host, int(port)), Healthy).serve_forever()
' "$admin" ORDER
"#;

const WORKER: &str = "trap 'echo worker told to stop >> ORDER; exit 0' TERM; \
                      while [ -e \"$0\" ]; do sleep 0.05; done";

struct House {
    directory: TempDir,
    listen: u16,
    admin: u16,
    own: u16,
}

impl House {
    fn new() -> House {
        House {
            directory: tempfile::tempdir().expect("a temporary directory"),
            listen: free_port(),
            admin: free_port(),
            own: free_port(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the children write down which orders they got, in order.
    fn order(&self) -> PathBuf {
        self.path().join("order")
    }

    fn config(&self, proxy: &str, worker: &str) -> PathBuf {
        let order = self.order().display().to_string();
        let proxy = script(self.path(), "proxy", &proxy.replace("ORDER", &order));
        let worker = script(self.path(), "worker", &worker.replace("ORDER", &order));
        fs::create_dir_all(self.path().join("model")).expect("a directory");
        let (listen, admin, own) = (self.listen, self.admin, self.own);
        let config = format!(
            r#"
[up]
listen = "127.0.0.1:{listen}"
admin = "127.0.0.1:{admin}"
proxy_config = "proxy.toml"
proxy_binary = "{}"
[process]
model = "model"
binary = "{}"
[fleet]
kind = "process"
min = 1
max = 1
[slo]
latency = "2s"
[[signal]]
name = "requests"
metric = "concurrency"
statistic = "mean"
window = "5s"
target_per_worker = 4
[scaler]
listen = "127.0.0.1:{own}"
"#,
            proxy.display(),
            worker.display()
        );
        let file = self.path().join("up.toml");
        fs::write(&file, config).expect("the config is written");
        file
    }

    fn up(&self, proxy: &str, worker: &str) -> Daemon {
        let config = self.config(proxy, worker);
        let config = config.to_str().unwrap_or_default();
        Daemon::start(&["up", "--config", config], self.path())
    }

    /// Private directories that are still there.
    fn left_behind(&self) -> usize {
        let entries = fs::read_dir(self.path()).expect("it is listed");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| name.starts_with("tidegate-")).count()
    }
}

#[test]
fn ctrl_c_stops_the_proxy_and_then_the_workers_and_leaves_nothing() {
    let house = House::new();
    let mut daemon = house.up(PROXY, WORKER);
    daemon.wait_for("0 -> 1 worker");
    daemon.wait_for("its signal cannot be read");
    assert_eq!(house.left_behind(), 1);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.code(), Some(0), "{}", daemon.said());
    daemon.wait_for("stopped");
    let order = fs::read_to_string(house.order()).expect("they got orders");
    assert_eq!(order, "proxy told to stop\nworker told to stop\n");
    assert_eq!(house.left_behind(), 0);
}

#[test]
fn a_second_ctrl_c_waits_for_nobody() {
    let house = House::new();
    let deaf = WORKER.replace("exit 0", "true");
    let mut daemon = house.up(PROXY, &deaf);
    daemon.wait_for("0 -> 1 worker");
    daemon.signal(Signal::INT);
    daemon.wait_for("stopping");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.code(), Some(0), "{}", daemon.said());
    assert_eq!(house.left_behind(), 0);
}

#[test]
fn a_proxy_that_ends_at_its_start_is_said_with_its_last_words() {
    let house = House::new();
    let mut daemon = house.up("echo 'proxy.toml:3: no such key' >&2; exit 78", WORKER);
    assert_eq!(daemon.code(), Some(1));
    let said = daemon.said();
    assert!(
        said.contains(
            "tidegate-scaler: the proxy ended at its start (exit code 78)\n    \
             proxy.toml:3: no such key\n"
        ),
        "{said}"
    );
    assert_eq!(house.left_behind(), 0);
}

#[test]
fn a_proxy_that_dies_is_started_again_and_that_is_said() {
    let house = House::new();
    let mortal = PROXY.replace("exec python3", "timeout 2 python3");
    let daemon = house.up(&mortal, WORKER);
    daemon.wait_for("! the proxy ended (exit code 124)");
    daemon.wait_for("gives no signal");
}

#[test]
fn a_worker_that_cannot_load_its_model_is_said_once_and_survived() {
    let house = House::new();
    let mut daemon = house.up(PROXY, "echo 'model.safetensors is torn' >&2; exit 1");
    daemon.wait_for("never ready (exit code 1)\n    model.safetensors is torn\n    log: ");
    daemon.wait_for("2 launches in a row have failed");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.code(), Some(0), "{}", daemon.said());
    assert_eq!(daemon.said().matches("is torn").count(), 1);
}

#[test]
fn a_port_in_use_is_named_with_its_key() {
    let house = House::new();
    let taken = TcpListener::bind(("127.0.0.1", house.listen)).expect("it was free");
    let mut daemon = house.up(PROXY, WORKER);
    assert_eq!(daemon.code(), Some(1));
    drop(taken);
    let (port, file) = (house.listen, house.path().join("up.toml"));
    assert_eq!(
        daemon.said(),
        format!(
            "tidegate-scaler: port {port} is in use (up.listen = \"127.0.0.1:{port}\"): stop what \
             listens there, or change up.listen in {}\n",
            file.display()
        )
    );
}

#[test]
fn a_model_that_is_not_there_is_said_before_anything_starts() {
    let house = House::new();
    house.config(PROXY, WORKER);
    let file = house.path().join("up.toml");
    let config = fs::read_to_string(&file).expect("the config");
    let config = config.replace("model = \"model\"", "model = \"models/none\"");
    fs::write(&file, config).expect("it is written");
    let file = file.to_str().unwrap_or_default();
    let mut daemon = Daemon::start(&["up", "--config", file], house.path());
    assert_eq!(daemon.code(), Some(1));
    let said = daemon.said();
    assert!(
        said.contains("the model models/none does not exist (process.model in "),
        "{said}"
    );
}
