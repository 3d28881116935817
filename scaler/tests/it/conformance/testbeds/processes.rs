//! Processes of this machine.

use std::fs;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tidegate_control::Time;
use tidegate_policy::ProcessRules;
use tidegate_scaler::fleet::Fleet;
use tidegate_scaler::fleet::process::{self, ProcessFleet, Share};

use super::super::{ROOM, Testbed};
use crate::stage::script;

/// Scripts that end when they are told to, or when their file is there.
pub struct Processes {
    fleet: ProcessFleet,
    directory: TempDir,
    began: std::time::Instant,
}

impl Processes {
    pub fn new() -> Processes {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let body = format!(
            "trap 'exit 0' TERM; while [ -e \"$0\" ] && [ ! -e {}/$3 ]; do sleep 0.02; done; exit 3",
            directory.path().display()
        );
        let fleet = ProcessFleet::new(
            process::Setup {
                binary: script(directory.path(), "worker", &body),
                rules: ProcessRules {
                    model: "models/tiny".to_owned(),
                    name: None,
                    binary: None,
                    config: None,
                    token_file: None,
                    threads: None,
                    oversubscribe: false,
                    stop_limit: tidegate_config::Duration::from_secs(20),
                    logs: None,
                },
                proxies: vec!["http://127.0.0.1:1".to_owned()],
                token_file: directory.path().join("worker.token"),
                share: Share::alone(ROOM),
                max: ROOM,
                prefix: "w".to_owned(),
            },
            0,
        );
        Processes {
            fleet,
            directory,
            began: std::time::Instant::now(),
        }
    }
}

#[async_trait]
impl Testbed for Processes {
    fn fleet(&mut self) -> &mut dyn Fleet {
        &mut self.fleet
    }

    async fn pass(&mut self) -> Time {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Time::from_ms(1_000_000_000) + self.began.elapsed()
    }

    async fn end_by_others(&mut self, id: &str) -> bool {
        fs::write(self.directory.path().join(id), "").expect("it is written");
        true
    }

    async fn size_by_others(&mut self, _count: u32) -> bool {
        false
    }
}
