//! Which beats are accepted.

use tidegate_wire::{Beat, OLDEST_VERSION, VERSION};

/// A name longer than this is refused.
const NAME_LENGTH: usize = 128;

/// Why a beat was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeatRefused {
    Version { found: u32 },
    BadName { field: &'static str },
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
                "{field}: expected 1 to {NAME_LENGTH} visible ASCII characters without '/' and '?'"
            ),
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
    let named = |name: &str| {
        let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b'?';
        !name.is_empty() && name.len() <= NAME_LENGTH && name.bytes().all(visible)
    };
    match () {
        () if !named(&beat.worker) => Err(BeatRefused::BadName { field: "worker" }),
        () if !named(&beat.boot) => Err(BeatRefused::BadName { field: "boot" }),
        // A model id may hold a slash, as ORG/NAME does.
        () if !named(&beat.model.replace('/', "-")) => Err(BeatRefused::BadName { field: "model" }),
        () => Ok(()),
    }
}
