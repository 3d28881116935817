//! What a line may ask for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The paths of the proxy that batches are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    #[serde(rename = "/v1/chat/completions")]
    Chat,
    #[serde(rename = "/v1/completions")]
    Completions,
    #[serde(rename = "/v1/embeddings")]
    Embeddings,
    #[serde(rename = "/v1/rerank")]
    Rerank,
    /// What SageMaker's clients ask for by `inputs`.
    #[serde(rename = "/")]
    Inputs,
    /// What they ask for by `texts`.
    #[serde(rename = "/rerank")]
    Texts,
}

#[derive(Debug, Error)]
#[error("found {found:?}, expected one of {}", Endpoint::list())]
pub struct NoEndpoint {
    found: String,
}

impl Endpoint {
    const ALL: [Endpoint; 6] = [
        Endpoint::Chat,
        Endpoint::Completions,
        Endpoint::Embeddings,
        Endpoint::Rerank,
        Endpoint::Inputs,
        Endpoint::Texts,
    ];

    /// How many of them are for people who write files; the others come from SageMaker's clients.
    const FOR_FILES: usize = 4;

    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Chat => "/v1/chat/completions",
            Endpoint::Completions => "/v1/completions",
            Endpoint::Embeddings => "/v1/embeddings",
            Endpoint::Rerank => "/v1/rerank",
            Endpoint::Inputs => "/",
            Endpoint::Texts => "/rerank",
        }
    }

    fn list() -> String {
        Endpoint::ALL.map(Endpoint::path)[..Endpoint::FOR_FILES].join(", ")
    }
}

impl FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Endpoint, NoEndpoint> {
        let found = Endpoint::ALL.into_iter().find(|one| one.path() == text);
        found.ok_or_else(|| NoEndpoint {
            found: text.chars().take(64).collect(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.path())
    }
}
