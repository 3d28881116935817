//! What SageMaker tells its containers by their environment.

use std::net::SocketAddr;

use crate::models::Source;

/// The port that is to be listened on.
const PORT: &str = "SAGEMAKER_BIND_TO_PORT";

/// Where the model lies.
const MODEL: &str = "SM_MODEL_DIR";

/// The model, for a worker that is given none.
pub fn model() -> Option<Source> {
    std::env::var(MODEL).ok()?.parse().ok()
}

/// The address to listen on: SageMaker's port goes before an image's own.
pub fn listen(listen: SocketAddr) -> SocketAddr {
    with_port(listen, std::env::var(PORT).ok().as_deref())
}

fn with_port(mut listen: SocketAddr, port: Option<&str>) -> SocketAddr {
    if let Some(port) = port.and_then(|port| port.trim().parse().ok()) {
        listen.set_port(port);
    }
    listen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_obeyed_if_it_is_one() {
        let listen = SocketAddr::from(([0, 0, 0, 0], 8080));
        for (port, expected) in [(None, 8080), (Some("9000"), 9000), (Some("x"), 8080)] {
            assert_eq!(with_port(listen, port).port(), expected);
        }
    }
}
