//! Which heartbeats are accepted.

use tidegate_protocol::{Heartbeat, OLDEST_VERSION, VERSION};

/// A name longer than this is refused.
const NAME_LENGTH: usize = 128;

/// Far more than a worker can take at once.
const SLOTS: u32 = 65_536;

/// Why a heartbeat was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeartbeatRefused {
    Version { found: u32 },
    BadName { field: &'static str },
    TooManySlots { found: u32 },
    TooManyWorkers { most: usize },
}

impl std::fmt::Display for HeartbeatRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HeartbeatRefused::Version { found } => write!(
                f,
                "beat version {found} is not understood; this proxy reads versions {OLDEST_VERSION} to {}",
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
        }
    }
}

impl std::error::Error for HeartbeatRefused {}

/// Looks at what a heartbeat says of itself; who may send it is the driver's to know.
pub(super) fn check(beat: &Heartbeat) -> Result<(), HeartbeatRefused> {
    if !(OLDEST_VERSION..=VERSION + 1).contains(&beat.version) {
        return Err(HeartbeatRefused::Version {
            found: beat.version,
        });
    }
    match () {
        () if !is_name(&beat.worker) => Err(HeartbeatRefused::BadName { field: "worker" }),
        () if !is_name(&beat.boot) => Err(HeartbeatRefused::BadName { field: "boot" }),
        // A model id may hold a slash, as ORG/NAME does.
        () if !is_name(&beat.model.replace('/', "-")) => {
            Err(HeartbeatRefused::BadName { field: "model" })
        }
        () if beat.slots > SLOTS => Err(HeartbeatRefused::TooManySlots { found: beat.slots }),
        () => Ok(()),
    }
}

/// Whether a name can stand in a path, a header and a metric as it is.
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    !name.is_empty() && name.len() <= NAME_LENGTH && name.bytes().all(allowed)
}
