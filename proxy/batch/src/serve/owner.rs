//! Whose files and batches: a name made from the key that a client brings, never the key itself.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};
use tidegate_keys::{KeyRing, presented};

use super::error::ApiError;
use super::http::App;

/// Hexadecimal digits of the hash that names an owner.
const DIGITS: usize = 32;

/// All who bring no key are one owner.
const ANYONE: &str = "anyone";

#[derive(Clone, Debug, PartialEq)]
pub struct Owner(pub String);

impl Owner {
    /// The owner that a key stands for; `None` where keys are checked and this is none of them.
    fn of_key(key: Option<&str>, ring: Option<&KeyRing>) -> Option<Owner> {
        let key = key.map(str::trim).filter(|key| !key.is_empty());
        if let Some(ring) = ring {
            ring.name_of(key?)?;
        }
        let Some(key) = key else {
            return Some(Owner(ANYONE.to_owned()));
        };
        let digest = Sha256::digest(key.as_bytes());
        let mut name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        name.truncate(DIGITS);
        Some(Owner(name))
    }
}

/// The name that the file of keys gives an owner's key.
pub fn key_name(owner: &str, ring: Option<&KeyRing>) -> Option<String> {
    // The begin of the same hash that the file has.
    let name = ring?.name_of_hash(owner)?;
    (!name.is_empty()).then(|| name.to_string())
}

impl FromRequestParts<Arc<App>> for Owner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let headers = &parts.headers;
        let key = presented(|name| headers.get(name).map(|value| value.as_bytes()));
        Owner::of_key(key, app.keys.as_deref()).ok_or_else(ApiError::unauthorized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_owner_and_cannot_be_read_from_it() {
        let name = |key| Owner::of_key(key, None).expect("anyone may").0;
        assert_eq!(name(Some("tg-secret")).len(), DIGITS);
        assert_ne!(name(Some("tg-secret")), name(Some("tg-other")));
        assert_eq!(name(Some(" ")), ANYONE);
        assert_eq!(name(None), ANYONE);
    }
}
