//! A route with and without a slash at its end: servers of this kind take both.

use std::sync::Arc;

use axum::Router;
use axum::routing::MethodRouter;

use super::app::App;

/// Adds such routes.
pub fn with<const N: usize>(routes: [(&str, MethodRouter<Arc<App>>); N]) -> Router<Arc<App>> {
    let mut router = Router::new();
    for (path, answer) in routes {
        router = router
            .route(&format!("{path}/"), answer.clone())
            .route(path, answer);
    }
    router
}
