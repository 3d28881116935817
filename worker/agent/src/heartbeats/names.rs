//! A DNS name for several proxies: resolved again while the worker serves, so that each proxy behind it
//! gets heartbeats, also later ones.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tidegate_config::{Addresses, RESOLVED_EVERY, RESOLVED_WITHIN};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

/// The addresses behind a `host:port`, when they are found.
type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// The system's resolver.
pub fn system(host_and_port: String) -> Found {
    Box::pin(async move { Ok(tokio::net::lookup_host(host_and_port).await?.collect()) })
}

/// What a task that heartbeats to one address is given.
pub struct Ties {
    /// It says when its last heartbeat was answered.
    pub answered: watch::Sender<Option<Instant>>,
    /// It ends, with a last heartbeat, when this is closed.
    pub leaving: watch::Receiver<()>,
}

/// One address that gets heartbeats.
struct Tied {
    answered: watch::Receiver<Option<Instant>>,
    /// Dropped to end its heartbeats.
    _leaving: watch::Sender<()>,
}

/// Starts heartbeats to each address behind the name, and ends them for one that is neither named nor
/// answering any more. Returns when `leaving` is closed and all heartbeats have ended.
pub async fn follow<F>(
    name: String,
    resolve: impl Fn(String) -> Found,
    mut leaving: watch::Receiver<()>,
    mut start: impl FnMut(SocketAddr, Ties) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let began = Instant::now();
    let mut addresses = Addresses::default();
    let mut tied: BTreeMap<SocketAddr, Tied> = BTreeMap::new();
    let mut senders = JoinSet::new();
    let mut is_lost = false;
    let mut ticks = tokio::time::interval(RESOLVED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(_) = senders.join_next() => continue,
            _ = leaving.changed() => break,
        }
        let found = tokio::select! {
            found = within(RESOLVED_WITHIN, resolve(name.clone())) => found,
            _ = leaving.changed() => break,
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                if !std::mem::replace(&mut is_lost, true) {
                    warn!(name, %error, "the proxies' name does not resolve; heartbeats go to the addresses known so far");
                }
                continue;
            }
        };
        is_lost = false;
        for (address, tied) in &tied {
            if let Some(at) = *tied.answered.borrow() {
                addresses.answered(at - began, *address);
            }
        }
        let changes = addresses.named(began.elapsed(), found);
        for address in changes.left {
            info!(name, %address, "no proxy of this name any more");
            tied.remove(&address);
        }
        for address in changes.joined {
            let (answers, answered) = watch::channel(None);
            let (_leaving, leaving) = watch::channel(());
            let ties = Ties {
                answered: answers,
                leaving,
            };
            senders.spawn(start(address, ties));
            tied.insert(address, Tied { answered, _leaving });
        }
    }
    drop(tied);
    senders.join_all().await;
}

/// An answer that brings something.
async fn within(
    limit: Duration,
    resolved: impl Future<Output = io::Result<Vec<SocketAddr>>>,
) -> io::Result<Vec<SocketAddr>> {
    let late = io::Error::from(io::ErrorKind::TimedOut);
    match tokio::time::timeout(limit, resolved).await {
        Ok(Ok(found)) if found.is_empty() => Err(io::ErrorKind::NotFound.into()),
        Ok(found) => found,
        Err(_) => Err(late),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    type Shared<T> = Arc<Mutex<T>>;

    fn with<T, R>(shared: &Mutex<T>, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 9090))
    }

    /// Who gets heartbeats, with what the resolver says set by the test.
    struct Scene {
        named: Shared<Vec<SocketAddr>>,
        addressed: Shared<Vec<SocketAddr>>,
        /// These answer their heartbeats.
        alive: Shared<Vec<SocketAddr>>,
        leaving: watch::Sender<()>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Scene {
        fn start() -> Scene {
            let (named, addressed, alive) = <(Shared<_>, Shared<_>, Shared<_>)>::default();
            let (leaving, left) = watch::channel(());
            let answers = Arc::clone(&named);
            let resolve = move |_: String| {
                let answers = Arc::clone(&answers);
                let answer = async move { Ok(with(&answers, |all: &mut Vec<_>| all.clone())) };
                Box::pin(answer) as Found
            };
            let (tasks, living) = (Arc::clone(&addressed), Arc::clone(&alive));
            let start = move |address, mut ties: Ties| {
                let (tasks, living) = (Arc::clone(&tasks), Arc::clone(&living));
                async move {
                    with(&tasks, |all: &mut Vec<_>| all.push(address));
                    let mut ticks = tokio::time::interval(Duration::from_secs(1));
                    loop {
                        tokio::select! {
                            now = ticks.tick() => if with(&living, |all: &mut Vec<SocketAddr>| all.contains(&address)) {
                                ties.answered.send_replace(Some(now));
                            },
                            _ = ties.leaving.changed() => break,
                        }
                    }
                    with(&tasks, |all: &mut Vec<SocketAddr>| {
                        all.retain(|one| *one != address)
                    });
                }
            };
            let task = tokio::spawn(follow("proxies:9090".to_owned(), resolve, left, start));
            Scene {
                named,
                addressed,
                alive,
                leaving,
                task,
            }
        }

        fn name(&self, all: &[u8]) {
            with(&self.named, |named| {
                *named = all.iter().map(|n| address(*n)).collect()
            });
        }

        async fn after(&self, seconds: u64) -> Vec<SocketAddr> {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            with(&self.addressed, |all| {
                all.sort();
                all.clone()
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_proxy_behind_the_name_gets_heartbeats_and_one_that_comes_later_too() {
        let scene = Scene::start();
        scene.name(&[1, 2]);
        assert_eq!(scene.after(6).await, [address(1), address(2)]);
        scene.name(&[1, 2, 3]);
        assert_eq!(scene.after(6).await, [address(1), address(2), address(3)]);
        drop(scene.leaving);
        scene.task.await.expect("it ends");
        assert!(with(&scene.addressed, |all| all.is_empty()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_not_named_any_more_gets_heartbeats_until_it_is_silent_too() {
        let scene = Scene::start();
        scene.name(&[1, 2]);
        with(&scene.alive, |alive| alive.push(address(2)));
        scene.after(6).await;
        scene.name(&[1]);
        assert_eq!(scene.after(300).await, [address(1), address(2)]);
        with(&scene.alive, Vec::clear);
        assert_eq!(scene.after(110).await, [address(1), address(2)]);
        assert_eq!(scene.after(20).await, [address(1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_says_nothing_ends_no_heartbeats() {
        let scene = Scene::start();
        scene.name(&[1]);
        scene.after(6).await;
        scene.name(&[]);
        assert_eq!(scene.after(1000).await, [address(1)]);
    }
}
