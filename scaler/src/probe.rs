//! Whether a scaler runs, for images without a shell.

use std::net::SocketAddr;
use std::time::Duration;

use crate::http;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Fails when no scaler ticks at `address`.
pub async fn probe(address: SocketAddr) -> anyhow::Result<()> {
    let request = http::client().get(format!("http://{address}/healthz"));
    let response = request.timeout(TIMEOUT).send().await?;
    response.error_for_status()?;
    Ok(())
}
