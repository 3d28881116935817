//! Containers of a real engine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tidegate_control::Time;
use tidegate_policy::ContainerRules;
use tidegate_scaler::fleet::Fleet;
use tidegate_scaler::fleet::container::ContainerFleet;

use super::super::Testbed;

fn container_rules(text: &str) -> ContainerRules {
    #[derive(serde::Deserialize)]
    struct Whole {
        container: ContainerRules,
    }
    impl tidegate_config::Check for Whole {}
    let text = format!("[container]\n{text}");
    let whole: Whole = tidegate_config::parse(&text, "engine.toml".as_ref()).expect("it is valid");
    whole.container
}

/// Containers of a real engine, which `make in-engine` names, with the image and the model that it
/// has made.
pub struct Engine {
    fleet: ContainerFleet,
    /// A filter that finds the fleet's containers.
    label: String,
    _tokens: TempDir,
    began: std::time::Instant,
}

fn docker(arguments: &[&str]) -> bool {
    let output = Command::new("docker").args(arguments).output();
    output.expect("docker runs").status.success()
}

impl Engine {
    pub fn new() -> Engine {
        static FLEETS: AtomicUsize = AtomicUsize::new(0);
        let number = FLEETS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("clause-{}-{number}", std::process::id());
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        let socket = host
            .strip_prefix("unix://")
            .unwrap_or("/var/run/docker.sock");
        let tokens = tempfile::tempdir().expect("a temporary directory");
        let token = tokens.path().join("token");
        fs::write(&token, "worker-token-for-tests").expect("it is written");
        let own = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&token, own).expect("its mode is set");
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let models = models.canonicalize().expect("the models are there");
        let text = format!(
            "image = 'tidegate-worker'\nnetwork = 'bridge'\nuser = '0:0'\ntimeout = '20s'\n\
             model = '/models/all-MiniLM-L6-v2.int8.safetensors'\nname_prefix = '{prefix}'\n\
             token_file = '/run/worker/token'\nsocket = '{socket}'\n\
             [[container.mounts]]\nfrom = '{}'\nto = '/models'\n\
             [[container.mounts]]\nfrom = '{}'\nto = '/run/worker'\n",
            models.display(),
            tokens.path().display(),
        );
        let rules = container_rules(&text);
        Engine {
            fleet: ContainerFleet::new(rules, vec!["http://127.0.0.1:1".to_owned()], 0),
            label: format!("label=tidegate.fleet={prefix}"),
            _tokens: tokens,
            began: std::time::Instant::now(),
        }
    }
}

#[async_trait]
impl Testbed for Engine {
    fn fleet(&mut self) -> &mut dyn Fleet {
        &mut self.fleet
    }

    async fn pass(&mut self) -> Time {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Time::from_ms(1_000_000_000) + self.began.elapsed()
    }

    async fn end_by_others(&mut self, id: &str) -> bool {
        docker(&["kill", id])
    }

    async fn size_by_others(&mut self, _count: u32) -> bool {
        false
    }
}

/// Nothing outlives the clause that it was started for.
impl Drop for Engine {
    fn drop(&mut self) {
        let listed = Command::new("docker")
            .args(["ps", "--all", "--quiet", "--filter", &self.label])
            .output();
        let listed = listed.map(|output| output.stdout).unwrap_or_default();
        for id in String::from_utf8_lossy(&listed).lines() {
            docker(&["rm", "--force", id]);
        }
    }
}
