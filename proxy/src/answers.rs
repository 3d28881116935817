//! How many answers clients got, by route and status. Counting is one addition; there is no
//! label that a client can choose.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, StatusCode};

use crate::route::{BATCH_ROUTES, WorkerRoute, batch_route};

/// The statuses that are counted, 100 to 599.
const STATUSES: usize = 500;

/// What belongs to no route: unknown paths, and requests that could not be read.
const OTHER: &str = "other";

/// Which row an answer is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteId(usize);

pub struct Answers {
    rows: Vec<Row>,
}

struct Row {
    method: Method,
    path: String,
    counts: Box<[AtomicU64]>,
}

impl Answers {
    pub fn new(routes: &[WorkerRoute]) -> Self {
        let own = crate::route::OWN_PATHS.map(|path| (Method::GET, path.to_owned()));
        let listed = routes
            .iter()
            .map(|route| (route.method.clone(), route.path.clone()));
        let other = (Method::GET, OTHER.to_owned());
        let batch = BATCH_ROUTES.iter().flat_map(|route| route.rows());
        let rows = std::iter::once(other).chain(own).chain(listed).chain(batch);
        Answers {
            rows: rows.map(|(method, path)| Row::new(method, path)).collect(),
        }
    }

    /// The row of a request for this path, which takes these methods.
    pub fn route(&self, allowed: &[Method], method: &Method, path: &str) -> RouteId {
        let method = match *method {
            Method::HEAD => &Method::GET,
            _ => method,
        };
        let path = match batch_route(path) {
            Some(route) => route.path,
            None if path.starts_with("/v1/models/") => "/v1/models",
            None => path,
        };
        let row = |method: &Method| {
            let mut rows = self.rows.iter().skip(1);
            rows.position(|row| row.path == path && row.method == *method)
        };
        let row = row(method).or_else(|| row(allowed.first()?));
        RouteId(row.map_or(0, |row| row + 1))
    }

    /// The row of what could not be read.
    pub fn other(&self) -> RouteId {
        RouteId(0)
    }

    /// Method and path of a row, or the word for what belongs to none.
    pub fn name(&self, route: RouteId) -> String {
        self.rows.get(route.0).map(Row::name).unwrap_or_default()
    }

    pub fn count(&self, route: RouteId, status: StatusCode) {
        let status = usize::from(status.as_u16()).saturating_sub(100);
        let count = self
            .rows
            .get(route.0)
            .and_then(|row| row.counts.get(status));
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every count that is not zero: route, status, answers.
    pub fn counted(&self) -> impl Iterator<Item = (String, u16, u64)> {
        self.rows.iter().flat_map(|row| {
            let counts = (100..).zip(row.counts.iter());
            let counts = counts.map(|(status, count)| (status, count.load(Ordering::Relaxed)));
            let seen = counts.filter(|(_, count)| *count > 0);
            seen.map(|(status, count)| (row.name(), status, count))
        })
    }
}

impl Row {
    fn new(method: Method, path: String) -> Self {
        let counts = (0..STATUSES).map(|_| AtomicU64::new(0));
        Row {
            method,
            path,
            counts: counts.collect(),
        }
    }

    fn name(&self) -> String {
        match self.path.as_str() {
            OTHER => OTHER.to_owned(),
            path => format!("{} {path}", self.method),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_counted_under_its_route_and_nothing_else_makes_a_row() {
        let answers = Answers::new(&WorkerRoute::all());
        let post = [Method::POST];
        let count = |allowed: &[Method], method: Method, path: &str, status: u16| {
            let status = StatusCode::from_u16(status).expect("a status");
            answers.count(answers.route(allowed, &method, path), status);
        };
        count(&post, Method::POST, "/embed", 200);
        count(&post, Method::DELETE, "/embed", 405);
        count(&[Method::GET], Method::HEAD, "/v1/models/m", 404);
        count(&[], Method::POST, "/made/up", 404);
        answers.count(answers.other(), StatusCode::BAD_REQUEST);
        let mut counted: Vec<_> = answers.counted().collect();
        counted.sort();
        let expected = [
            ("GET /v1/models", 404, 1),
            ("POST /embed", 200, 1),
            ("POST /embed", 405, 1),
            ("other", 400, 1),
            ("other", 404, 1),
        ];
        assert_eq!(
            counted,
            expected.map(|(route, status, count)| (route.to_owned(), status, count))
        );
    }
}
