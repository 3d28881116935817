//! Clients that ask for embeddings over and over until they are told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tidegate_tests::Client;
use tokio::task::JoinSet;

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Tally>,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Tally {
    pub answered: u64,
    /// Status and code of whatever was not answered, or why there is none.
    pub lost: Vec<String>,
}

impl Load {
    pub fn start(client: &Client, clients: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let each = (0..clients).map(|number| ask(client.clone(), number, Arc::clone(&stop)));
        let clients = each.collect();
        Load { stop, clients }
    }

    /// Lets every client finish the request that it is at.
    pub async fn finish(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for tally in self.clients.join_all().await {
            all.answered += tally.answered;
            all.lost.extend(tally.lost);
        }
        all
    }
}

async fn ask(client: Client, number: usize, stop: Arc<AtomicBool>) -> Tally {
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let input = format!("client {number} asks for the {}th time", tally.answered);
        let answer = client.try_post(&json!({"input": input}), &[]).await;
        match answer {
            Ok(answer) if answer.status == 200 => tally.answered += 1,
            Ok(answer) => {
                let lost = format!("{} {}", answer.status, answer.body);
                tally.lost.push(lost);
            }
            Err(error) => tally.lost.push(error.to_string()),
        }
    }
    tally
}
