//! Whose files and batches: a name made from the key that a client brings, never the key itself.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};

/// Hexadecimal digits of the hash that names an owner.
const DIGITS: usize = 32;

/// All who bring no key are one owner.
const ANYONE: &str = "anyone";

#[derive(Clone, Debug, PartialEq)]
pub struct Owner(pub String);

impl Owner {
    fn of_key(key: Option<&str>) -> Owner {
        let Some(key) = key.map(str::trim).filter(|key| !key.is_empty()) else {
            return Owner(ANYONE.to_owned());
        };
        let digest = Sha256::digest(key.as_bytes());
        let mut name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        name.truncate(DIGITS);
        Owner(name)
    }
}

impl<S: Sync> FromRequestParts<S> for Owner {
    type Rejection = std::convert::Infallible;

    /// `Authorization: Bearer KEY`, or else `api-key: KEY`.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let text = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let bearer = text(AUTHORIZATION.as_str()).and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key)
        });
        Ok(Owner::of_key(bearer.or_else(|| text("api-key"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_owner_and_cannot_be_read_from_it() {
        let name = Owner::of_key(Some("tg-secret")).0;
        assert_eq!(name.len(), DIGITS);
        assert_ne!(name, Owner::of_key(Some("tg-other")).0);
        assert_eq!(Owner::of_key(Some(" ")).0, ANYONE);
    }
}
