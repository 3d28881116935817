//! Two fleets at work under one scaler.

use std::fs;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tidegate_tests::{ENVIRONMENT, Moto, REGION};

use super::{Draft, asg};
use crate::daemon::{Daemon, free_port, metrics_with};
use crate::stage::{FakeProxy, eventually};

/// Two fleets under one scaler, and what stands behind them.
struct Scene {
    directory: TempDir,
    moto: Moto,
    port: u16,
    daemon: Daemon,
}

impl Scene {
    async fn start() -> Scene {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (moto, proxy, port) = (Moto::start(), FakeProxy::start().await, free_port());
        let launch = json!({ "LaunchConfigurationName": "l", "ImageId": "ami-12c6146b", "InstanceType": "t2.micro" });
        moto.call("autoscaling", "create_launch_configuration", &launch);
        let [chat, words] = ["chat", "words"].map(|name| {
            let group = json!({
                "AutoScalingGroupName": name, "LaunchConfigurationName": "l", "MinSize": 0,
                "MaxSize": 4, "DesiredCapacity": 0, "AvailabilityZones": [format!("{REGION}a")],
            });
            moto.call("autoscaling", "create_auto_scaling_group", &group);
            let file = |end: &str| directory.path().join(format!("{name}.{end}"));
            let draft = Draft {
                name,
                proxy: &proxy.url,
                scaler: format!(
                    "listen = '127.0.0.1:{port}'\nledger = '{}'",
                    file("jsonl").display()
                ),
                more: format!(
                    "{}[cloudwatch]\ninterval = '1s'\nemf = '{}'\n",
                    asg(name, &format!("endpoint_url = '{}'\n", moto.url)),
                    file("metrics").display()
                ),
            };
            let file = draft.write(directory.path());
            file.display().to_string()
        });
        let arguments = ["run", "--policy", &chat, "--policy", &words];
        let daemon = Daemon::start_in(&ENVIRONMENT, &arguments, directory.path());
        Scene {
            directory,
            moto,
            port,
            daemon,
        }
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// Waits until the groups of `chat` and `words` are of these sizes.
    #[track_caller]
    fn sizes(&self, sizes: [u64; 2]) {
        let desired = |name: &str| {
            let names = json!({ "AutoScalingGroupNames": [name] });
            let found = (self.moto).call("autoscaling", "describe_auto_scaling_groups", &names);
            found["AutoScalingGroups"][0]["DesiredCapacity"].as_u64()
        };
        eventually(&format!("sizes {sizes:?}: {}", self.daemon.said()), || {
            let found = ["chat", "words"].map(desired);
            (found == sizes.map(Some)).then_some(())
        });
    }

    /// `hold 2` with the token of this fleet and these words.
    fn hold(&self, token: &str, words: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate-scaler"))
            .args(["hold", "2", "--listen", &format!("127.0.0.1:{}", self.port)])
            .arg("--token-file")
            .arg(self.directory.path().join(token))
            .args(words)
            .output();
        let output = output.expect("the scaler runs");
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fleet_has_its_group_its_metrics_its_ledger_and_its_orders() {
    let mut scene = Scene::start().await;
    scene.sizes([1, 1]);
    let said = scene.hold("chat.token", &[]);
    let why = "expected one of chat, words as --fleet, found none";
    assert!(said.contains(why), "{said}");
    let said = scene.hold("chat.token", &["--fleet", "talk"]);
    let why = "found --fleet \"talk\", expected one of chat, words";
    assert!(said.contains(why), "{said}");
    let said = scene.hold("words.token", &["--fleet", "words"]);
    assert_eq!(said, "held at 2 by hand for 1h\n");
    scene.sizes([1, 2]);

    metrics_with(scene.port, "tidegate_scaler_by_hand{fleet=\"words\"} 1").await;
    let page = metrics_with(scene.port, "tidegate_scaler_by_hand{fleet=\"chat\"} 0").await;
    let published = "tidegate_scaler_published_total{fleet=\"words\"} ";
    assert!(page.contains(published), "{page}");
    let samples = page.lines().filter(|line| line.starts_with("tidegate"));
    for sample in samples {
        assert!(sample.contains("fleet=\""), "{sample}");
    }

    scene.daemon.signal(Signal::TERM);
    assert_eq!(scene.daemon.code(), Some(0), "{}", scene.daemon.said());
    for (name, other) in [("chat", "words"), ("words", "chat")] {
        let metrics = scene.file(&format!("{name}.metrics"));
        assert!(
            metrics.contains(&format!("\"Fleet\":\"{name}\"")),
            "{metrics}"
        );
        assert!(!metrics.contains(other), "{metrics}");
        let ledger = scene.file(&format!("{name}.jsonl"));
        assert!(ledger.contains("\"launched\""), "{ledger}");
        assert_eq!(ledger.contains("by_hand"), name == "words", "{ledger}");
    }
    let said = scene.daemon.said();
    let line = |line: &&str| line.contains("held at 2 by hand");
    let line = said.lines().find(line).expect("it is reported");
    assert!(line.contains("fleet{name=words}"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_reads_each_and_an_operator_s_token_is_for_its_fleet_alone() {
    let scene = Scene::start().await;
    scene.sizes([1, 1]);
    let other = scene.directory.path().join("words.token");
    fs::write(other, "another-0123456789\n").expect("it is written");
    let said = scene.hold("words.token", &["--fleet", "chat"]);
    assert!(said.contains("401"), "{said}");

    let change = |name: &str, size: &str| {
        let file = format!("{name}.toml");
        let policy = scene.file(&file).replace("max = 4", size);
        fs::write(scene.directory.path().join(file), policy).expect("it is written");
    };
    change("chat", "max = 0");
    change("words", "max = 3");
    scene.daemon.signal(Signal::HUP);
    scene.daemon.wait_for("words.toml is in force");
    scene
        .daemon
        .wait_for("chat.toml:4: fleet.max: found 0, expected 1 or more");
}
