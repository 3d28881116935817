//! configs/compose.yaml, brought up for a test and taken down with it.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io::Write};

use tempfile::TempDir;
use tidegate_tests::Client;

/// As the labels in configs/policy-compose.toml say.
const PROJECT: &str = "tidegate";

pub const FLEET_NETWORK: &str = "tidegate-fleet";

const WORKERS: &str = "label=tidegate.fleet=tidegate-worker";

/// Who the images run as.
const USER: u32 = 65532;

pub struct Stack {
    port: u16,
    /// Of the status page.
    scaler_port: u16,
    /// Where compose is run: the models and the tokens.
    home: TempDir,
}

impl Stack {
    pub fn up() -> Stack {
        let running = docker(&["ps", "--all", "--quiet", "--filter", WORKERS]);
        assert!(running.is_empty(), "a fleet of that name is here already");
        let home = TempDir::new().expect("a directory for the tokens");
        symlink(root().join("models"), home.path().join("models")).expect("a link to the models");
        for role in ["worker", "operator"] {
            write_token(home.path(), role);
        }
        let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let ports =
            (sockets.each_ref()).map(|socket| socket.local_addr().expect("its address").port());
        drop(sockets);
        let [port, scaler_port] = ports;
        let stack = Stack {
            port,
            scaler_port,
            home,
        };
        stack.compose(&["up", "--detach", "--no-build"]);
        stack
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Of the scaler, as this machine reaches it.
    pub fn scaler_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.scaler_port)
    }

    pub fn client(&self) -> Client {
        Client::new(self.url())
    }

    /// Names of the workers' containers that run, oldest first.
    pub fn workers(&self) -> Vec<String> {
        let running = ["ps", "--filter", WORKERS, "--filter", "status=running"];
        let names = docker(&[&running[..], &["--format", "{{.Names}}"]].concat());
        let mut names: Vec<String> = names.lines().map(str::to_owned).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }

    /// The container of a service.
    pub fn container(&self, service: &str) -> String {
        let project = format!("label=com.docker.compose.project={PROJECT}");
        let service = format!("label=com.docker.compose.service={service}");
        let found = docker(&["ps", "--quiet", "--filter", &project, "--filter", &service]);
        assert_eq!(found.lines().count(), 1, "{service}: {found}");
        found
    }

    pub fn log(&self, service: &str) -> String {
        docker_all(&["logs", &self.container(service)])
    }

    /// Takes all of it away, workers included, as docs/containers.md says.
    pub fn down(&self) {
        self.compose(&["down", "--volumes", "--remove-orphans"]);
    }

    fn compose(&self, arguments: &[&str]) {
        let (program, first) = compose_program();
        let mut command = Command::new(program);
        command.args(first).args(["--project-name", PROJECT]);
        command
            .arg("--file")
            .arg(root().join("configs/compose.yaml"));
        command.args(arguments).stdin(Stdio::null());
        command.current_dir(self.home.path());
        command.env("PWD", self.home.path());
        command.env("TIDEGATE_PORT", self.port.to_string());
        command.env("SCALER_PORT", self.scaler_port.to_string());
        command.env("DOCKER_SOCKET", socket());
        command.env("DOCKER_GROUP", group_of(&socket()));
        let output = command.output().expect("compose can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "compose {arguments:?}: {said}");
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for service in ["scaler", "proxy", "batch"] {
                let name = format!("{PROJECT}_{service}_1");
                eprintln!("--- {service} printed:\n{}", docker_all(&["logs", &name]));
            }
        }
        self.down();
    }
}

/// What docker prints on standard output; fails the test when docker does.
pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output();
    let output = output.expect("docker can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Both of what docker prints, whatever comes of it.
fn docker_all(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output();
    let output = output.expect("docker can be run");
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The program of its own, or the plugin.
fn compose_program() -> (&'static str, &'static [&'static str]) {
    let version = Command::new("docker-compose").arg("version").output();
    match version.is_ok_and(|output| output.status.success()) {
        true => ("docker-compose", &[]),
        false => ("docker", &["compose"]),
    }
}

fn socket() -> PathBuf {
    let host = env::var("DOCKER_HOST").unwrap_or_default();
    let path = host.strip_prefix("unix://");
    PathBuf::from(path.unwrap_or("/var/run/docker.sock"))
}

fn group_of(file: &Path) -> String {
    let group = fs::metadata(file).expect("the engine's socket is there");
    group.gid().to_string()
}

fn root() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("tests/ is in the workspace")
}

/// A token in a directory of its own, for the images' user alone.
fn write_token(home: &Path, role: &str) {
    let directory = home.join("secrets").join(role);
    fs::create_dir_all(&directory).expect("a directory for a token");
    let file = directory.join("token");
    let mut options = fs::File::options();
    let opened = options.write(true).create_new(true).mode(0o600).open(&file);
    let token = format!("{role}-token-for-tests\n");
    let written = opened.and_then(|mut opened| opened.write_all(token.as_bytes()));
    written.expect("a token can be written");
    for path in [&directory, &file] {
        chown(path, Some(USER), Some(USER)).expect("root can give a token to the images' user");
    }
}
