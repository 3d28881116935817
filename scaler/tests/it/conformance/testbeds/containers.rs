//! Containers of an engine in memory.

use async_trait::async_trait;
use tidegate_control::Time;
use tidegate_scaler::fleet::Fleet;
use tidegate_scaler::fleet::container::ContainerFleet;

use super::super::Testbed;
use crate::fake_engine::{CREATED_S, FakeEngine};

/// Containers of an engine in memory, which end when they are told to.
pub struct Containers {
    fleet: ContainerFleet,
    engine: FakeEngine,
    began: std::time::Instant,
}

impl Containers {
    pub fn new() -> Containers {
        let engine = FakeEngine::start();
        let proxies = vec!["http://proxy:9090".to_owned()];
        let rules = crate::container::rules(&engine);
        Containers {
            fleet: ContainerFleet::new(rules, proxies, 0),
            engine,
            began: std::time::Instant::now(),
        }
    }
}

#[async_trait]
impl Testbed for Containers {
    fn fleet(&mut self) -> &mut dyn Fleet {
        &mut self.fleet
    }

    async fn pass(&mut self) -> Time {
        {
            let shelf = &mut *self.engine.shelf();
            for (name, _) in std::mem::take(&mut shelf.signals) {
                let mut all = shelf.containers.values_mut();
                if let Some(events) = all.find(|container| container.name == name) {
                    (events.state, events.exit_code) = ("exited", 0);
                }
            }
        }
        Time::from_ms(CREATED_S * 1000 + 500) + self.began.elapsed()
    }

    async fn end_by_others(&mut self, id: &str) -> bool {
        self.engine.end(id, 137);
        true
    }

    async fn size_by_others(&mut self, _count: u32) -> bool {
        false
    }
}
