//! AWS on this machine: moto in a process of its own, and boto3 to look into it. It ends with the
//! test.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// Where everything is in there.
pub const REGION: &str = "eu-central-1";

/// What makes the SDK in a daemon content: credentials, and nobody else to ask for them.
pub const ENVIRONMENT: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("AWS_CONFIG_FILE", "/nowhere"),
];

pub struct Moto {
    pub url: String,
    child: Child,
}

impl Moto {
    pub fn start() -> Moto {
        Moto::start_in(&[])
    }

    /// With these variables in its environment.
    pub fn start_in(environment: &[(&str, &str)]) -> Moto {
        let mut command = python("aws.py");
        command.envs(environment.iter().copied());
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

    /// Puts a file into a bucket.
    #[track_caller]
    pub fn upload(&self, bucket: &str, key: &str, file: &Path) {
        let parameters = json!({ "Bucket": bucket, "Key": key, "Filename": file });
        self.call("s3", "upload_file", &parameters);
    }

    /// From now on a request needs the keys of a user who may make it.
    pub fn check_signatures(&self) {
        self.call("moto", "reset-auth", &json!(0));
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A script in `tests/clients`, in the environment that `make test` installs for them.
pub fn python(script: &str) -> Command {
    let own = std::env::current_exe().expect("a process knows its own path");
    let places = own
        .ancestors()
        .map(|place| place.join("clients/bin/python"));
    let python = places.into_iter().find(|python| python.exists());
    let python = python.expect("`make test` installs the clients first");
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let mut command = Command::new(python);
    command.arg(clients.join(script));
    command
}
