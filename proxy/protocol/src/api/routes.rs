//! Every route that a worker may serve to clients, and what kind of work it asks for.

use std::fmt;

/// Methods of these routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a route asks for. Requests of one kind to one model take comparable times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Embed,
    Rerank,
    Classify,
    Tokenize,
    /// Text that is generated; its answer may be a stream.
    Generate,
    /// Facts about the model.
    Describe,
    /// Of a route that this build does not know.
    Other,
}

impl Kind {
    /// Whether a request may be computed twice: nobody sees it, and it costs no more than once
    /// again. Generated text is left out, because it is random and costly.
    pub fn is_idempotent(self) -> bool {
        matches!(
            self,
            Kind::Embed | Kind::Rerank | Kind::Classify | Kind::Tokenize | Kind::Describe
        )
    }
}

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRoute {
    pub method: Method,
    pub path: &'static str,
    pub kind: Kind,
}

const fn post(path: &'static str, kind: Kind) -> ApiRoute {
    ApiRoute {
        method: Method::Post,
        path,
        kind,
    }
}

/// The routes that go to workers.
pub const ROUTES: [ApiRoute; 16] = [
    post("/v1/chat/completions", Kind::Generate),
    post("/v1/completions", Kind::Generate),
    post("/v1/embeddings", Kind::Embed),
    post("/v1/rerank", Kind::Rerank),
    post("/v2/rerank", Kind::Rerank),
    post("/", Kind::Embed),
    post("/embed", Kind::Embed),
    post("/embed_all", Kind::Embed),
    post("/similarity", Kind::Embed),
    post("/predict", Kind::Classify),
    post("/rerank", Kind::Rerank),
    post("/tokenize", Kind::Tokenize),
    post("/generate", Kind::Generate),
    post("/generate_stream", Kind::Generate),
    post("/translate", Kind::Generate),
    ApiRoute {
        method: Method::Get,
        path: "/info",
        kind: Kind::Describe,
    },
];

impl ApiRoute {
    /// The kind of work behind a path, whatever the method.
    pub fn kind_of(path: &str) -> Kind {
        let mut routes = ROUTES.iter();
        let route = routes.find(|route| route.path == path);
        route.map_or(Kind::Other, |route| route.kind)
    }
}
