//! From the configured URLs to the proxies behind them: a name may have several addresses, and is
//! resolved again every few seconds.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tidegate_config::{Addresses, RESOLVED_EVERY, RESOLVED_WITHIN};
use tokio::time::Instant;

/// Where a URL without a port leads.
const HTTP_PORT: u16 = 80;

/// Finds the addresses behind a name.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses of `host:port`.
    async fn resolve(&self, host_and_port: &str) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver.
pub struct System;

#[async_trait]
impl Resolve for System {
    async fn resolve(&self, host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host(host_and_port).await?.collect())
    }
}

/// One configured URL.
#[derive(Debug)]
pub(super) enum Place {
    /// It has an address in it.
    Fixed(String),
    Named(Named),
}

#[derive(Debug)]
pub(super) struct Named {
    url: String,
    host_and_port: String,
    began: Instant,
    addresses: Addresses,
    next: Option<Instant>,
    /// Why the resolver's last answer brought nothing.
    fault: Option<String>,
}

/// A proxy that is to be asked, or a name behind which none was found yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    At(String),
    Unknown { url: String, why: String },
}

impl Place {
    pub fn new(url: &str) -> Place {
        let host = url.trim_start_matches("http://");
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let host_and_port = match has_port {
            true => host.to_owned(),
            false => format!("{host}:{HTTP_PORT}"),
        };
        match host_and_port.parse::<SocketAddr>() {
            Ok(_) => Place::Fixed(url.to_owned()),
            Err(_) => Place::Named(Named {
                url: url.to_owned(),
                host_and_port,
                began: Instant::now(),
                addresses: Addresses::default(),
                next: None,
                fault: None,
            }),
        }
    }

    /// As it was configured.
    pub fn url(&self) -> &str {
        match self {
            Place::Fixed(url) => url,
            Place::Named(named) => &named.url,
        }
    }

    /// Resolves the name again if that is due. A resolver that fails changes nothing.
    pub async fn refresh(&mut self, resolver: &Arc<dyn Resolve>) {
        let Place::Named(named) = self else {
            return;
        };
        let now = Instant::now();
        if named.next.is_some_and(|next| now < next) {
            return;
        }
        named.next = Some(now + RESOLVED_EVERY);
        let resolved = resolver.resolve(&named.host_and_port);
        let resolved = tokio::time::timeout(RESOLVED_WITHIN, resolved).await;
        named.fault = match resolved {
            Ok(Ok(found)) if found.is_empty() => Some("it has no address".to_owned()),
            Ok(Ok(found)) => {
                named.addresses.named(now - named.began, found);
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!(
                "the resolver does not answer within {RESOLVED_WITHIN:?}"
            )),
        };
    }

    /// Whom to ask, and whom to order.
    pub fn targets(&self) -> Vec<Target> {
        match self {
            Place::Fixed(url) => vec![Target::At(url.clone())],
            Place::Named(named) if named.addresses.is_empty() => vec![Target::Unknown {
                url: named.url.clone(),
                why: named.fault.clone().unwrap_or_default(),
            }],
            Place::Named(named) => (named.addresses.iter())
                .map(|address| Target::At(url_of(address)))
                .collect(),
        }
    }

    /// The proxy at this URL has answered.
    pub fn answered(&mut self, url: &str) {
        let Place::Named(named) = self else {
            return;
        };
        let address = named.addresses.iter().find(|a| url_of(*a) == url);
        if let Some(address) = address {
            named.addresses.answered(named.began.elapsed(), address);
        }
    }
}

impl Target {
    pub fn url(&self) -> &str {
        match self {
            Target::At(url) | Target::Unknown { url, .. } => url,
        }
    }
}

fn url_of(address: SocketAddr) -> String {
    format!("http://{address}")
}
