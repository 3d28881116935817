//! Which requests there are: the listed ones go to workers, a few are answered here, and all else
//! is unknown.

use http::{HeaderValue, Method, Version};
use pingora_core::protocols::http::ServerSession;
use serde_json::json;
use tidegate_protocol::PRIORITY_HEADER;
use tidegate_queue::Class;

use super::Frontend;
use super::reply::Reply;

/// Where a request goes.
pub(super) enum Route {
    /// Answered by the proxy itself.
    Here(Reply),
    /// For a worker, in this class.
    Queue(Class),
}

impl Frontend {
    pub(super) fn route(&self, session: &ServerSession) -> Route {
        let header = session.req_header();
        let path = header.uri.path();
        if header.version == Version::HTTP_11 && header.headers.get(http::header::HOST).is_none() {
            let message = "an HTTP/1.1 request needs a Host header";
            return Route::Here(Reply::bad_request("host_required", message));
        }
        match (&header.method, path) {
            (&Method::GET, "/livez") => {
                return Route::Here(Reply::ok(json!({"status": "ok"})));
            }
            (&Method::GET, "/readyz" | "/health") => return Route::Here(self.readiness()),
            _ => (),
        }
        let key = match &self.keys {
            Some(keys) => match keys.admits(&header.headers) {
                Some(name) => Some(name),
                None => {
                    metrics::counter!(crate::metrics::UNAUTHORIZED).increment(1);
                    return Route::Here(Reply::unauthorized());
                }
            },
            None => None,
        };
        let routes = self.config.routes.iter();
        let mut methods = (routes.filter(|route| route.path == path)).map(|route| &route.method);
        if methods.clone().any(|method| *method == header.method) {
            let asked = header.headers.get(PRIORITY_HEADER);
            let asked = asked.map(HeaderValue::as_bytes);
            return match self.classes.choose(asked, path, key.as_deref()) {
                Ok(class) => Route::Queue(class),
                Err(unknown) => {
                    Route::Here(Reply::bad_request("unknown_class", unknown.to_string()))
                }
            };
        }
        match (&header.method, path) {
            (&Method::GET, "/v1/models") => Route::Here(self.models()),
            (method, path) => {
                Route::Here(match (path.strip_prefix("/v1/models/"), methods.next()) {
                    (Some(model), _) if method == Method::GET => self.model(model),
                    (_, Some(allowed)) => Reply::wrong_method(path, allowed),
                    _ => Reply::no_route(path),
                })
            }
        }
    }

    fn readiness(&self) -> Reply {
        match self.drain.has_begun() {
            true => Reply::draining(),
            false => Reply::ok(json!({"status": "ok"})),
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
}

fn model_object(id: &str) -> serde_json::Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": "tidegate"})
}
