//! A peer: a Python process that measures one engine, a round for each line it is sent.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tidegate_tests::default_model;

use super::{LENGTHS, Round, THREADS};
use crate::PYTHON;

pub struct Peer {
    child: Child,
    commands: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a peer and lets it search for its best settings; none if peers are not installed.
    pub fn start(home: &TempDir, name: &str) -> Option<Peer> {
        let Some(python) = std::env::var_os(PYTHON) else {
            println!("{name} is left out: {PYTHON} names no Python; `make bench` sets it");
            return None;
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(python);
        command.arg(root.join("peers/peers.py"));
        command.args(["--serve", "--peer", name]);
        command.args(["--threads", &THREADS.to_string()]);
        command.arg("--model").arg(default_model());
        command
            .arg("--inputs")
            .arg(root.join("../worker/src/sentences.txt"));
        command.arg("--cache").arg(home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the peer starts");
        let commands = child.stdin.take().expect("it was asked for");
        let lines = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut peer = Peer {
            child,
            commands,
            lines,
        };
        let ready = peer.line();
        println!(
            "{name} {}: {}, cosine {}",
            ready["version"], ready["settings"], ready["cosine"]
        );
        Some(peer)
    }

    pub fn run(&mut self) -> Round {
        writeln!(self.commands, "run").expect("the peer reads");
        let figures = self.line();
        let p50 = |tokens: &str| number(&figures["latency"][tokens]["p50"]);
        Round {
            tokens_per_second: number(&figures["tokens_per_second"]),
            p50_ms: LENGTHS.map(p50),
        }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the peer writes");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("a peer said {line:?}: {error}"))
    }
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("expected a number, found {value}"))
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
