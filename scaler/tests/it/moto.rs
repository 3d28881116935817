//! AWS on this machine: moto in a process of its own, and boto3 to look into it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

pub const REGION: &str = "eu-central-1";

/// What makes the SDK in a daemon content: credentials, and nobody else to ask for them.
pub const ENVIRONMENT: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("AWS_CONFIG_FILE", "/nowhere"),
];

/// Ends with the test.
pub struct Moto {
    pub url: String,
    child: Child,
}

impl Moto {
    pub fn start() -> Moto {
        let mut command = python("aws.py");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("`make test` installs moto first");
        let out = child.stdout.take().expect("its output");
        let mut line = String::new();
        let read = BufReader::new(out).read_line(&mut line);
        read.expect("it says where it listens");
        let url = line.trim().strip_prefix("listening ");
        let url = url.expect("it says where it listens").to_owned();
        Moto { url, child }
    }

    /// What boto3 gets for a call.
    #[track_caller]
    pub fn call(&self, service: &str, operation: &str, parameters: &Value) -> Value {
        let mut command = python("aws_client.py");
        command.args([&self.url, service, operation, &parameters.to_string()]);
        let output = command.output().expect("boto3 runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{service} {operation}: {errors}");
        serde_json::from_slice(&output.stdout).expect("it prints JSON")
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A script in `tests/clients`, in the environment that `make test` installs for them.
fn python(script: &str) -> Command {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
    let mut command = Command::new(environment().join("bin/python"));
    command.arg(clients.join(script));
    command
}

/// `clients` in the target directory, in which the binaries lie as well.
fn environment() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_tidegate-scaler"));
    let target = binary.ancestors().nth(2).expect("target/release/binary");
    target.join("clients")
}
