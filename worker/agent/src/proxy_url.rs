//! The address to which heartbeats are sent.

use std::net::SocketAddr;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

/// Base of a proxy's admin port, `http://HOST:PORT`, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ProxyUrl(String);

#[derive(Debug, Error)]
#[error("\"{found}\" is not the address of an admin port; expected http://HOST:PORT")]
pub struct ProxyUrlError {
    found: String,
}

impl ProxyUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where to post heartbeats.
    pub fn heartbeat(&self) -> String {
        format!("{}{}", self.0, tidegate_protocol::HEARTBEAT_PATH)
    }

    /// The admin port at this address.
    pub fn at(address: SocketAddr) -> ProxyUrl {
        ProxyUrl(format!("http://{address}"))
    }

    /// Whether it leads to one address, and not to whatever a name stands for.
    pub fn is_address(&self) -> bool {
        self.host_and_port().parse::<SocketAddr>().is_ok()
    }

    /// `HOST:PORT`.
    pub fn host_and_port(&self) -> &str {
        self.0.trim_start_matches("http://")
    }
}

impl FromStr for ProxyUrl {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let base = text.trim_end_matches('/');
        let with_port = base
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        match is_http_base(base) && with_port {
            true => Ok(ProxyUrl(base.to_owned())),
            false => Err(ProxyUrlError {
                found: text.to_owned(),
            }),
        }
    }
}

impl TryFrom<String> for ProxyUrl {
    type Error = ProxyUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Whether a text is an HTTP base address: nothing but a host, and a port perhaps.
pub fn is_http_base(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        url.scheme() == "http"
            && url.path() == "/"
            && url.username().is_empty()
            && url.query().is_none()
    })
}
