//! How long a registry of many workers is busy with their heartbeats, which is how long the
//! proxy's lock is held for them: `cargo run --release --example heartbeats -- 10000`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidegate_protocol::{Heartbeat, VERSION, WorkerState};
use tidegate_queue::{Registry, RegistryConfig};

/// Looks at the registry in each second, as the proxy does.
const REFRESHES: u32 = 50;
const SECONDS: u32 = 20;

fn heartbeat(worker: usize, sequence: u64) -> Heartbeat {
    Heartbeat {
        version: VERSION,
        worker: format!("worker-{worker:08}"),
        boot: "0f8b2c1d".to_owned(),
        sequence,
        instance: Some(format!("i-{worker:017x}")),
        address: SocketAddr::from(([10, 0, (worker >> 8) as u8, worker as u8], 8081)),
        model: "all-MiniLM-L6-v2".to_owned(),
        slots: 32,
        busy: (worker as u32 + sequence as u32) % 32,
        yours: (worker as u32) % 8,
        tokens: None,
        tokens_busy: 0,
        queue: 0,
        state: WorkerState::Ready,
    }
}

fn main() {
    let workers = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let workers: usize = workers.unwrap_or(10_000);
    let mut registry = Registry::new(RegistryConfig::default());
    let (mut heard, mut refreshed) = (Duration::ZERO, Duration::ZERO);
    let mut longest = Duration::ZERO;
    for second in 0..SECONDS {
        let said: Vec<_> = (0..workers)
            .map(|worker| heartbeat(worker, u64::from(second) + 1))
            .collect();
        let mut said = said.into_iter();
        for refresh in 0..REFRESHES {
            let now =
                Duration::from_secs(second.into()) + Duration::from_secs(1) / REFRESHES * refresh;
            let due = said.by_ref().take(workers.div_ceil(REFRESHES as usize));
            for said in due {
                let began = Instant::now();
                let taken = registry.heartbeat(now, said);
                let took = began.elapsed();
                assert!(taken.is_ok(), "{taken:?}");
                // The first second adds them.
                if second > 0 {
                    heard += took;
                    longest = longest.max(took);
                }
            }
            let began = Instant::now();
            registry.refresh(now);
            while registry.next_changed().is_some() {}
            if second > 0 {
                refreshed += began.elapsed();
            }
        }
    }
    let seconds = f64::from(SECONDS - 1);
    let began = Instant::now();
    let signal = registry.signal(Duration::from_secs(SECONDS.into()), "p", "e");
    let snapshot = began.elapsed();
    let text = serde_json::to_string(&signal).map(|text| text.len());
    println!(
        "{workers} workers: heartbeats {:.3} % of the time ({:.0} ns each, longest {:?}), refreshes \
         {:.3} %, a snapshot for the signal {snapshot:?} ({text:?} bytes)",
        100.0 * heard.as_secs_f64() / seconds,
        1e9 * heard.as_secs_f64() / seconds / workers as f64,
        longest,
        100.0 * refreshed.as_secs_f64() / seconds,
    );
}
