//! What goes to the batch service; and what goes to workers: a method and a path, in the config as "GET /info", or "/embed" for POST.

use std::fmt;

use http::Method;
use serde::Deserialize;
use tidegate_protocol::api::{self, ApiRoute, ROUTES};

/// `GET` paths that the proxy answers itself.
pub const OWN_PATHS: [&str; 5] = ["/v1/models", "/livez", "/readyz", "/health", "/healthz"];

/// Paths that the batch service answers, with all below them.
pub static BATCH_ROUTES: [BatchRoute; 3] = [
    BatchRoute {
        path: "/v1/files",
        methods: &[Method::GET, Method::POST, Method::DELETE],
        is_signed: false,
    },
    BatchRoute {
        path: "/v1/batches",
        methods: &[Method::GET, Method::POST],
        is_signed: false,
    },
    BatchRoute {
        path: "/endpoints",
        methods: &[Method::GET, Method::POST],
        is_signed: true,
    },
];

#[derive(Debug)]
pub struct BatchRoute {
    pub path: &'static str,
    pub methods: &'static [Method],
    /// Its clients sign what they send, which the service verifies; they have no key to bring.
    pub is_signed: bool,
}

impl BatchRoute {
    /// Under which its answers are counted.
    pub fn rows(&self) -> impl Iterator<Item = (Method, String)> {
        (self.methods.iter()).map(|method| (method.clone(), self.path.to_owned()))
    }
}

/// The route of the batch service that a path belongs to.
pub fn batch_route(path: &str) -> Option<&'static BatchRoute> {
    BATCH_ROUTES.iter().find(|route| {
        let rest = path.strip_prefix(route.path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct WorkerRoute {
    pub method: Method,
    pub path: String,
}

impl WorkerRoute {
    /// All that workers serve to clients.
    pub fn all() -> Vec<WorkerRoute> {
        let route = |route: &ApiRoute| WorkerRoute {
            method: match route.method {
                api::Method::Get => Method::GET,
                api::Method::Post => Method::POST,
            },
            path: route.path.to_owned(),
        };
        ROUTES.iter().map(route).collect()
    }

    /// Whether the proxy answers such requests itself.
    pub fn is_the_proxys_own(&self) -> bool {
        self.method == Method::GET && OWN_PATHS.contains(&self.path.as_str())
    }
}

impl TryFrom<String> for WorkerRoute {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (method, path) = match text.split_once(' ') {
            None => (Some(Method::POST), text.as_str()),
            Some(("POST", path)) => (Some(Method::POST), path),
            Some(("GET", path)) => (Some(Method::GET), path),
            Some((_, path)) => (None, path),
        };
        let is_path = path.starts_with('/') && !path.contains([' ', '?', '#']);
        match method.filter(|_| is_path) {
            Some(method) => Ok(WorkerRoute {
                method,
                path: path.to_owned(),
            }),
            None => Err("expected \"/PATH\", which means POST, or \"GET /PATH\"".to_owned()),
        }
    }
}

impl fmt::Display for WorkerRoute {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{} {}\"", self.method, self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn the_file_in_configs_lists_all_routes() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/proxy.toml");
        let config: Config = tidegate_config::load(&file).expect("it is valid");
        assert_eq!(config.routes, WorkerRoute::all());
    }

    #[test]
    fn routes_that_make_no_sense_are_refused_with_what_was_expected() {
        for (routes, says) in [
            ("['embed']", "expected \"/PATH\""),
            ("['PUT /embed']", "expected \"/PATH\""),
            ("['/embed?a=b']", "expected \"/PATH\""),
            ("['GET /health']", "does not answer itself"),
        ] {
            let text = format!("routes = {routes}");
            let mistake = tidegate_config::parse::<Config>(&text, Path::new("p.toml"));
            let mistake = mistake.expect_err(routes).to_string();
            assert!(mistake.contains(says), "{routes}: {mistake}");
        }
    }
}
