//! The HTTP client of the scaler: calls directly, without proxies from the environment, and follows no
//! redirect, so that its token reaches no other address.

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

pub fn client() -> Client {
    // It fails only where the defaults fail as well.
    builder().build().unwrap_or_default()
}

/// For a client that trusts others than the machine does.
pub fn builder() -> ClientBuilder {
    ClientBuilder::new().no_proxy().redirect(Policy::none())
}
