//! Which beats are accepted.

use tidegate_wire::{Beat, OLDEST_VERSION, VERSION};

/// A name longer than this is refused.
const NAME_LENGTH: usize = 128;

/// Far more than a worker can take at once.
const SLOTS: u32 = 65_536;

/// Why a beat was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeatRefused {
    Version { found: u32 },
    BadName { field: &'static str },
    TooManySlots { found: u32 },
    TooManyWorkers { most: usize },
}

impl std::fmt::Display for BeatRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BeatRefused::Version { found } => write!(
                f,
                "beat version {found} is not understood; this proxy reads versions {OLDEST_VERSION} to {}",
                VERSION + 1
            ),
            BeatRefused::BadName { field } => write!(
                f,
                "{field}: expected 1 to {NAME_LENGTH} of the characters A-Z a-z 0-9 . _ : -"
            ),
            BeatRefused::TooManySlots { found } => {
                write!(f, "slots: {found} is more than {SLOTS}")
            }
            BeatRefused::TooManyWorkers { most } => {
                write!(f, "{most} workers have announced themselves already")
            }
        }
    }
}

impl std::error::Error for BeatRefused {}

/// Looks at what a beat says of itself; who may send it is the driver's to know.
pub(super) fn check(beat: &Beat) -> Result<(), BeatRefused> {
    if !(OLDEST_VERSION..=VERSION + 1).contains(&beat.version) {
        return Err(BeatRefused::Version {
            found: beat.version,
        });
    }
    match () {
        () if !is_name(&beat.worker) => Err(BeatRefused::BadName { field: "worker" }),
        () if !is_name(&beat.boot) => Err(BeatRefused::BadName { field: "boot" }),
        // A model id may hold a slash, as ORG/NAME does.
        () if !is_name(&beat.model.replace('/', "-")) => {
            Err(BeatRefused::BadName { field: "model" })
        }
        () if beat.slots > SLOTS => Err(BeatRefused::TooManySlots { found: beat.slots }),
        () => Ok(()),
    }
}

/// Whether a name can stand in a path, a header and a metric as it is.
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    !name.is_empty() && name.len() <= NAME_LENGTH && name.bytes().all(allowed)
}
