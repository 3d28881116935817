//! Where a service of AWS is called.

use serde::Deserialize;
use tidegate_config::Problem;
use url::Url;

use super::quoted;

/// The region, and the address where it is not AWS's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwsEndpoint {
    /// What the environment, the profile or the instance says when absent.
    pub region: Option<String>,
    /// Another address than AWS's own, such as an emulator's.
    pub endpoint_url: Option<String>,
}

impl AwsEndpoint {
    pub fn check(&self) -> Result<(), Problem> {
        if let Some(region) = self.region.as_deref().filter(|text| !is_region(text)) {
            let expected = "a region such as \"eu-central-1\"";
            return Err(Problem::new("region", quoted(region), expected));
        }
        match self.endpoint_url.as_deref().filter(|text| !is_base(text)) {
            Some(url) => {
                let expected = "a base URL such as \"http://127.0.0.1:5000\"";
                Err(Problem::new("endpoint_url", quoted(url), expected))
            }
            None => Ok(()),
        }
    }

    /// Whether both may be the same endpoint; a region that is not named may be any.
    pub fn may_be(&self, other: &AwsEndpoint) -> bool {
        let regions = self.region.as_ref().zip(other.region.as_ref());
        self.endpoint_url == other.endpoint_url && regions.is_none_or(|(one, two)| one == two)
    }
}

fn is_region(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.contains('-') && text.bytes().all(plain)
}

fn is_base(text: &str) -> bool {
    let parsed = Url::parse(text);
    parsed.is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_cannot_be_are_refused() {
        let endpoint = |region: &str, url: &str| AwsEndpoint {
            region: Some(region.to_owned()),
            endpoint_url: Some(url.to_owned()),
        };
        assert!(AwsEndpoint::default().check().is_ok());
        let private = endpoint("eu-central-1", "https://vpce.example");
        assert!(private.check().is_ok());
        for (region, url) in [
            ("Frankfurt", "http://127.0.0.1:5000"),
            ("eu-central-1", "127.0.0.1:5000"),
            ("eu-central-1", "http://user:secret@host"),
        ] {
            assert!(endpoint(region, url).check().is_err(), "{region} {url}");
        }
    }
}
