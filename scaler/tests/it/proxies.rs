//! A name that leads to several proxies, as the scaler follows it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use tidegate_config::Tokens;
use tidegate_protocol::Order;
use tidegate_scaler::proxies::{Addressees, Proxies, Resolve, Signals, answers};

use crate::stage::{FakeProxy, lock, token_file};

const NAME: &str = "http://proxies.test:9090";

/// A resolver that says what the test says.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<Vec<SocketAddr>>>);

#[async_trait]
impl Resolve for Record {
    async fn resolve(&self, host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
        assert_eq!(host_and_port, "proxies.test:9090");
        match lock(&self.0).clone() {
            none if none.is_empty() => Err(io::Error::other("no such name")),
            some => Ok(some),
        }
    }
}

impl Record {
    fn names(&self, proxies: &[&FakeProxy]) {
        let addresses = proxies.iter().map(|proxy| {
            let address = proxy.url.trim_start_matches("http://");
            address.parse().expect("an address")
        });
        *lock(&self.0) = addresses.collect();
    }
}

struct Scene {
    record: Record,
    proxies: Proxies,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let directory = tempfile::tempdir().expect("a directory");
        let record = Record::default();
        let proxies = Proxies::of(addressees(directory.path(), &[NAME]));
        Scene {
            proxies: proxies.resolved_by(Arc::new(record.clone())),
            record,
            directory,
        }
    }

    /// The policy is read again, and names these.
    fn reload(&mut self, urls: &[&str]) {
        let addressees = addressees(self.directory.path(), urls);
        self.proxies.follow(addressees);
    }

    /// Who is asked, and whether they answer.
    async fn asked(&mut self) -> Vec<(String, bool)> {
        let replies = self.proxies.signals().await;
        let asked = answers(&replies).into_iter();
        let mut asked: Vec<_> = asked.map(|a| (a.source, a.signal.is_some())).collect();
        asked.sort();
        asked
    }
}

fn addressees(directory: &Path, urls: &[&str]) -> Addressees {
    let tokens = token_file(directory, "operator.token");
    Addressees {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        tokens: Tokens::read(&tokens).expect("the token is valid"),
        timeout: Duration::from_secs(5),
    }
}

/// Time passes in which nobody does anything.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

fn all<'a>(proxies: impl IntoIterator<Item = (&'a FakeProxy, bool)>) -> Vec<(String, bool)> {
    let proxies = proxies.into_iter();
    let mut all: Vec<_> = proxies.map(|(proxy, up)| (proxy.url.clone(), up)).collect();
    all.sort();
    all
}

#[tokio::test]
async fn every_proxy_behind_a_name_is_asked_and_ordered_and_one_that_comes_later_too() {
    let (one, two) = (FakeProxy::start().await, FakeProxy::start().await);
    let mut scene = Scene::new();
    scene.record.names(&[&one]);
    assert_eq!(scene.asked().await, all([(&one, true)]));
    scene.record.names(&[&one, &two]);
    assert_eq!(scene.asked().await, all([(&one, true)]), "not yet due");
    pass(6).await;
    assert_eq!(scene.asked().await, all([(&one, true), (&two, true)]));
    let ordered = scene.proxies.order(&two.url, Order::Drain, "w-1").await;
    ordered.expect("it takes orders");
    assert_eq!(two.state().orders, ["drain w-1"]);
}

#[tokio::test]
async fn one_that_left_the_name_is_missing_until_it_was_silent_for_long_enough() {
    let (one, two) = (FakeProxy::start().await, FakeProxy::start().await);
    let mut scene = Scene::new();
    scene.record.names(&[&one, &two]);
    scene.asked().await;
    scene.record.names(&[&one]);
    for _ in 0..3 {
        pass(100).await;
        let both = all([(&one, true), (&two, true)]);
        assert_eq!(scene.asked().await, both, "it still answers");
    }
    two.state().refuses = Some(StatusCode::SERVICE_UNAVAILABLE);
    for _ in 0..11 {
        pass(10).await;
        let missing = all([(&one, true), (&two, false)]);
        assert_eq!(scene.asked().await, missing);
    }
    pass(20).await;
    assert_eq!(scene.asked().await, all([(&one, true)]));
}

#[tokio::test]
async fn a_reload_forgets_none_that_left_a_name_which_stays() {
    let (one, two) = (FakeProxy::start().await, FakeProxy::start().await);
    let mut scene = Scene::new();
    scene.record.names(&[&one, &two]);
    scene.asked().await;
    scene.record.names(&[&one]);
    pass(6).await;
    two.state().refuses = Some(StatusCode::SERVICE_UNAVAILABLE);
    let missing = all([(&one, true), (&two, false)]);
    assert_eq!(scene.asked().await, missing);
    for _ in 0..2 {
        scene.reload(&[NAME]);
        pass(6).await;
        assert_eq!(scene.asked().await, missing, "it may have requests");
    }
    let three = FakeProxy::start().await;
    scene.reload(&[&three.url]);
    assert_eq!(
        scene.asked().await,
        all([(&three, true)]),
        "a name that goes"
    );
}

#[tokio::test]
async fn a_resolver_that_fails_changes_nothing_and_a_name_without_proxies_is_one_missing() {
    let one = FakeProxy::start().await;
    let mut scene = Scene::new();
    let replies = scene.proxies.signals().await;
    let why = replies[0].signal.as_ref().expect_err("nobody is there");
    assert_eq!(
        why.to_string(),
        "the name has no known address: no such name"
    );
    assert_eq!(scene.asked().await, [(NAME.to_owned(), false)]);
    scene.record.names(&[&one]);
    pass(6).await;
    assert_eq!(scene.asked().await, all([(&one, true)]));
    scene.record.names(&[]);
    pass(5000).await;
    assert_eq!(scene.asked().await, all([(&one, true)]));
}
