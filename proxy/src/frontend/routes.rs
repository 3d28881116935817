//! Routes: the listed ones go to workers, the proxy answers a few itself, and all others are unknown.
//! `HEAD` is `GET` without the body.

use std::borrow::Cow;

use http::Method;
use serde_json::json;
use tidegate_keys::presented;
use tidegate_protocol::PRIORITY_HEADER;
use tidegate_queue::Class;

use super::Frontend;
use super::reply::Reply;
use super::request::Request;
use crate::answers::RouteId;
use crate::config::BatchUrl;
use crate::route::{BatchRoute, batch_route};

/// Where a request goes.
pub(super) enum Destination {
    /// Answered by the proxy itself.
    Here(Reply),
    /// For a worker, at this path and in this class.
    Queue { path: String, class: Class },
    /// For the batch service.
    Batch(BatchUrl),
}

/// A destination, and the name under which answers are counted.
pub(super) struct Routed {
    pub(super) route: RouteId,
    pub(super) destination: Destination,
}

const MODEL: &str = "/v1/models/";

impl Frontend {
    pub(super) fn route(&self, request: &Request) -> Routed {
        let path = canonical(request.path());
        let method = request.method();
        let preflight = method == Method::OPTIONS && self.origin(request).is_some();
        let allowed = self.allowed(&path);
        let route = self.answers.route(&allowed, method, &path);
        let here = |reply| Routed {
            route,
            destination: Destination::Here(reply),
        };
        if let Some(reply) = self.health(method, &path) {
            return here(reply);
        }
        let batch = self.batch_route(&path);
        let is_signed = batch.is_some_and(|(_, route)| route.is_signed);
        let key = match &self.keys {
            // A browser asks beforehand without its key.
            Some(_) if preflight || is_signed => None,
            Some(keys) => match presented(|name| request.fields().get(name))
                .and_then(|key| keys.name_of(key))
            {
                Some(name) => Some(name),
                None => {
                    metrics::counter!(crate::metrics::UNAUTHORIZED).increment(1);
                    return here(Reply::unauthorized());
                }
            },
            None => None,
        };
        if allowed.is_empty() {
            return here(Reply::no_route(&path));
        }
        if method == Method::OPTIONS {
            return here(Reply::options(allowed, preflight));
        }
        if !allowed.contains(method) {
            return here(Reply::wrong_method(&path, allowed));
        }
        if let Some(reply) = self.about_models(method, &path) {
            return here(reply);
        }
        if let Some((url, _)) = batch {
            let destination = Destination::Batch(url.clone());
            return Routed { route, destination };
        }
        let asked = request.fields().get(PRIORITY_HEADER);
        match self.classes.choose(asked, &path, key.as_deref()) {
            Ok(class) => Routed {
                route,
                destination: Destination::Queue {
                    path: path.into_owned(),
                    class,
                },
            },
            Err(unknown) => here(Reply::bad_request("unknown_class", unknown.to_string())),
        }
    }

    /// What a path takes: nothing where there is no such path.
    fn allowed(&self, path: &str) -> Vec<Method> {
        let own = matches!(
            path,
            "/v1/models" | "/livez" | "/readyz" | "/health" | "/healthz"
        ) || path.starts_with(MODEL);
        let listed = self.config.routes.iter().filter(|route| route.path == path);
        let mut methods: Vec<Method> = listed.map(|route| route.method.clone()).collect();
        if let Some((_, route)) = self.batch_route(path) {
            methods.extend_from_slice(route.methods);
        }
        if own && !methods.contains(&Method::GET) {
            methods.push(Method::GET);
        }
        if methods.contains(&Method::GET) {
            methods.push(Method::HEAD);
        }
        if path == "*" {
            methods.extend([Method::GET, Method::HEAD, Method::POST]);
        }
        if !methods.is_empty() {
            methods.push(Method::OPTIONS);
        }
        methods
    }

    /// The batch service, if there is one and the path is among its own.
    fn batch_route(&self, path: &str) -> Option<(&BatchUrl, &'static BatchRoute)> {
        self.config.batch.url.as_ref().zip(batch_route(path))
    }

    fn health(&self, method: &Method, path: &str) -> Option<Reply> {
        match (method, path) {
            (&Method::GET | &Method::HEAD, "/livez") => Some(Reply::ok(json!({"status": "ok"}))),
            (&Method::GET | &Method::HEAD, "/readyz" | "/health" | "/healthz") => {
                Some(self.readiness())
            }
            _ => None,
        }
    }

    fn readiness(&self) -> Reply {
        match self.drain.has_begun() {
            true => Reply::draining(),
            false => Reply::ok(json!({"status": "ok"})),
        }
    }

    fn about_models(&self, method: &Method, path: &str) -> Option<Reply> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match path.strip_prefix(MODEL) {
            _ if !reads => None,
            Some(id) => Some(self.model(&decoded(id))),
            None if path == "/v1/models" => Some(self.models()),
            None => None,
        }
    }

    pub(super) fn known_models(&self) -> Vec<String> {
        self.dispatcher
            .read(|registry| registry.models().map(str::to_owned).collect())
    }

    fn models(&self) -> Reply {
        let data: Vec<_> = self
            .known_models()
            .iter()
            .map(|id| model_object(id))
            .collect();
        Reply::ok(json!({"object": "list", "data": data}))
    }

    fn model(&self, id: &str) -> Reply {
        match self.dispatcher.read(|registry| registry.queue_of(Some(id))) {
            Ok(_) => Reply::ok(model_object(id)),
            Err(reason) => Reply::no_such_model(reason, Some(id), &self.known_models()),
        }
    }

    /// The origin of a page whose answers a browser may show it, if the config has it.
    pub(super) fn origin(&self, request: &Request) -> Option<String> {
        let listed = &self.config.clients.cors_origins;
        if listed.is_empty() {
            return None;
        }
        let origin = request.text("origin")?;
        let found = listed
            .iter()
            .any(|listed| listed == "*" || listed == origin);
        found.then(|| origin.to_owned())
    }
}

fn model_object(id: &str) -> serde_json::Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": "tidegate"})
}

/// The path without doubled slashes, as nginx merges them, and without one at its end, which
/// FastAPI redirects: a redirect would cost clients their `Authorization`.
fn canonical(path: &str) -> Cow<'_, str> {
    let trailing = path.len() > 1 && path.ends_with('/');
    if !trailing && !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut merged = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        merged.push('/');
        merged.push_str(part);
    }
    match merged.is_empty() {
        true => Cow::Borrowed("/"),
        false => Cow::Owned(merged),
    }
}

/// `ORG%2FNAME` as `ORG/NAME`; what is no percent-encoding stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| char::from(*tail.get(at)?).to_digit(16);
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_that_mean_nothing_are_left_out() {
        for (path, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/embed", "/embed"),
            ("/embed/", "/embed"),
            ("//v1//embeddings//", "/v1/embeddings"),
            ("*", "*"),
        ] {
            assert_eq!(canonical(path), expected, "{path}");
        }
    }

    #[test]
    fn a_models_name_may_be_encoded() {
        for (text, name) in [
            ("m", "m"),
            ("org%2Fname", "org/name"),
            ("org%2fname", "org/name"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%C3%A9", "\u{e9}"),
        ] {
            assert_eq!(decoded(text), name);
        }
    }
}
