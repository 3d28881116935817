//! `tidegate-worker probe`: whether a worker is ready, for images without a shell.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use tidegate_agent::causes;

const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
pub enum ProbeError {
    #[error("{address} does not answer: {}", causes(error))]
    Silent {
        address: SocketAddr,
        error: reqwest::Error,
    },
    #[error("{address} is not ready: it answers {status}")]
    NotReady { address: SocketAddr, status: u16 },
}

pub async fn probe(address: SocketAddr) -> Result<(), ProbeError> {
    let silent = |error: reqwest::Error| ProbeError::Silent {
        address,
        error: error.without_url(),
    };
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .map_err(silent)?;
    let answer = client
        .get(format!("http://{address}/readyz"))
        .send()
        .await
        .map_err(silent)?;
    match answer.status().as_u16() {
        200 => Ok(()),
        status => Err(ProbeError::NotReady { address, status }),
    }
}
