//! What clients of SageMaker's runtime may do, and where their objects are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

use crate::sagemaker::Location;

/// Clients of SageMaker's runtime.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SageMakerRules {
    pub callers: Callers,
    /// File of mode 0600 with an access key id and its secret a line.
    pub access_keys_file: Option<PathBuf>,
    /// Largest body.
    pub body_bytes: usize,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Where inputs and answers of asynchronous requests are.
    pub s3: S3Rules,
    /// The model behind an endpoint whose name is another.
    pub endpoints: BTreeMap<String, String>,
}

/// Objects of clients. In use once `output` is named.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Rules {
    /// Where answers go.
    pub output: Option<Location>,
    /// Where failures go; the same if it is not said.
    pub failure: Option<Location>,
    /// What `InputLocation` may name: the service reads it with its own permissions, not the client's.
    pub inputs: Vec<Location>,
    /// Largest input.
    pub input_bytes: u64,
    pub region: Option<String>,
    /// Where S3 is, if not at AWS.
    pub endpoint: Option<String>,
}

/// Who may call SageMaker's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Callers {
    /// There are no such routes.
    Nobody,
    /// Whoever signs with a known key.
    Signed,
    /// Signatures are not looked at.
    Anyone,
}

impl Default for S3Rules {
    fn default() -> Self {
        S3Rules {
            output: None,
            failure: None,
            inputs: Vec::new(),
            input_bytes: 25 << 20,
            region: None,
            endpoint: None,
        }
    }
}

impl Default for SageMakerRules {
    fn default() -> Self {
        SageMakerRules {
            callers: Callers::Nobody,
            access_keys_file: None,
            body_bytes: 25 << 20,
            timeout: Duration::from_secs(60),
            s3: S3Rules::default(),
            endpoints: BTreeMap::new(),
        }
    }
}

impl S3Rules {
    pub fn check(&self) -> Result<(), Problem> {
        let others = [
            ("sagemaker.s3.inputs", !self.inputs.is_empty()),
            ("sagemaker.s3.failure", self.failure.is_some()),
        ];
        match others.iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) if self.output.is_none() => {
                let expected = format!("a place in S3, as there is `{key}`");
                Err(Problem::new("sagemaker.s3.output", "nothing", expected))
            }
            _ => Ok(()),
        }
    }
}
