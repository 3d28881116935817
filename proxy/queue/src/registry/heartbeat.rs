//! Which heartbeats are accepted.

use tidegate_protocol::{Heartbeat, OLDEST_VERSION, VERSION};

/// A name longer than this is refused.
const NAME_LENGTH: usize = 128;

/// Far more than a worker can take at once.
const SLOTS: u32 = 65_536;

/// Why a heartbeat was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeartbeatRefused {
    Version {
        found: u32,
    },
    BadName {
        field: &'static str,
    },
    TooManySlots {
        found: u32,
    },
    TooManyWorkers {
        most: usize,
    },
    /// No request can be sent to port 0.
    NoPort,
    /// A worker's process serves one model from its start to its end.
    OtherModel {
        before: String,
        found: String,
    },
}

impl std::fmt::Display for HeartbeatRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HeartbeatRefused::Version { found } => write!(
                f,
                "heartbeat version {found} is not understood; this proxy reads versions {OLDEST_VERSION} to {}",
                VERSION + 1
            ),
            HeartbeatRefused::BadName { field } => write!(
                f,
                "{field}: expected 1 to {NAME_LENGTH} of the characters A-Z a-z 0-9 . _ : -"
            ),
            HeartbeatRefused::TooManySlots { found } => {
                write!(f, "slots: {found} is more than {SLOTS}")
            }
            HeartbeatRefused::TooManyWorkers { most } => {
                write!(f, "{most} workers have announced themselves already")
            }
            HeartbeatRefused::NoPort => write!(f, "address: expected a port other than 0"),
            HeartbeatRefused::OtherModel { before, found } => write!(
                f,
                "model: found `{found}`, expected `{before}`, which this boot of the worker has announced"
            ),
        }
    }
}

impl std::error::Error for HeartbeatRefused {}

/// Looks at what a heartbeat says of itself; who may send it is the driver's to know.
pub(super) fn check(heartbeat: &Heartbeat) -> Result<(), HeartbeatRefused> {
    if !(OLDEST_VERSION..=VERSION + 1).contains(&heartbeat.version) {
        return Err(HeartbeatRefused::Version {
            found: heartbeat.version,
        });
    }
    match () {
        () if !is_name(&heartbeat.worker) => Err(HeartbeatRefused::BadName { field: "worker" }),
        () if !is_name(&heartbeat.boot) => Err(HeartbeatRefused::BadName { field: "boot" }),
        // A model id may hold a slash, as ORG/NAME does.
        () if !is_name(&heartbeat.model.replace('/', "-")) => {
            Err(HeartbeatRefused::BadName { field: "model" })
        }
        () if (heartbeat.instance.as_ref()).is_some_and(|instance| !is_name(instance)) => {
            Err(HeartbeatRefused::BadName { field: "instance" })
        }
        () if heartbeat.address.port() == 0 => Err(HeartbeatRefused::NoPort),
        () if heartbeat.slots > SLOTS => Err(HeartbeatRefused::TooManySlots {
            found: heartbeat.slots,
        }),
        () => Ok(()),
    }
}

/// A boot of a worker does not change its model: its endpoint is of one queue.
pub(super) fn check_same_model(
    before: &Heartbeat,
    found: &Heartbeat,
) -> Result<(), HeartbeatRefused> {
    match before.model == found.model {
        true => Ok(()),
        false => Err(HeartbeatRefused::OtherModel {
            before: before.model.clone(),
            found: found.model.clone(),
        }),
    }
}

/// Whether a name can stand in a path, a header and a metric as it is. Clients leave `.` and `..`
/// out of a path (RFC 3986, section 5.2.4), so that no order would reach a worker of that name.
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    let is_dots = matches!(name, "." | "..");
    !name.is_empty() && !is_dots && name.len() <= NAME_LENGTH && name.bytes().all(allowed)
}
