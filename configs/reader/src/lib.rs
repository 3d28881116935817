//! Strict reading of what every daemon reads from disk: TOML configuration and token files; and the
//! resolution of DNS names in a configuration.
//!
//! A message about a mistake has file, line, key, what was found, what was expected and the nearest
//! valid word. This crate knows no daemon's keys; those are in the daemon's own types.
//!
//! ```
//! # use std::path::Path;
//! # use tidegate_config::Duration;
//! #[derive(Debug, serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     timeout: Duration,
//! }
//! impl tidegate_config::Check for Config {}
//!
//! let file = Path::new("proxy.toml");
//! let config: Config = tidegate_config::parse("timeout = '30s'", file).unwrap();
//! assert_eq!(config.timeout, Duration::from_secs(30));
//! let mistake = tidegate_config::parse::<Config>("timeuot = '30s'", file).unwrap_err();
//! assert_eq!(
//!     mistake.to_string(),
//!     "proxy.toml:1: timeuot: unknown key; expected one of timeout; did you mean \"timeout\"?"
//! );
//! ```

mod addresses;
mod check;
mod document;
mod duration;
mod error;
mod fault;
mod file;
mod mistakes;
mod read;
mod tokens;

use std::path::Path;

use serde::de::DeserializeOwned;

pub use addresses::{Addresses, Changes, KEPT_FOR, RESOLVED_EVERY, RESOLVED_WITHIN};
pub use check::{Check, Problem};
pub use duration::Duration;
pub use error::{ConfigError, Mistake, nearest};
pub use file::read_text;
pub use tokens::{TokenError, Tokens};

/// Exit code of a daemon that was given a configuration it cannot use (`EX_CONFIG`).
pub const BAD_CONFIG: u8 = 78;

/// Largest configuration file: thousands of times what the examples have.
const LARGEST_CONFIG_BYTES: u64 = 16 << 20;

/// Reads and checks a configuration file. The error tells all mistakes that can be found at once.
///
/// `T` should refuse unknown keys (`#[serde(deny_unknown_fields)]`). Serde's `flatten` and
/// internally tagged enums lose the key path of what they hold; use nested tables instead.
pub fn load<T: DeserializeOwned + Check>(file: &Path) -> Result<T, ConfigError> {
    let (text, _) =
        read_text(file, LARGEST_CONFIG_BYTES).map_err(|cause| ConfigError::Unreadable {
            file: file.to_owned(),
            cause,
        })?;
    parse(&text, file)
}

/// As [`load`], for text that was already read; `file` only names it in messages.
pub fn parse<T: DeserializeOwned + Check>(text: &str, file: &Path) -> Result<T, ConfigError> {
    mistakes::read(&mut document::Document::parse(text, file)?)
}
