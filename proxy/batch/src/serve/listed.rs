//! The query of a request for a list: `?after=ID&limit=N&order=asc&purpose=batch`.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use reqwest::Url;

use super::error::ApiError;
use crate::store::SortOrder;

#[derive(Debug, Default, PartialEq)]
pub struct Listed {
    pub after: Option<String>,
    pub limit: Option<String>,
    pub order: Option<String>,
    pub purpose: Option<String>,
}

impl Listed {
    fn parse(query: &str) -> Listed {
        let mut listed = Listed::default();
        let Ok(url) = Url::parse(&format!("http://any/?{query}")) else {
            return listed;
        };
        for (key, value) in url.query_pairs() {
            let place = match &*key {
                "after" => &mut listed.after,
                "limit" => &mut listed.limit,
                "order" => &mut listed.order,
                "purpose" => &mut listed.purpose,
                _ => continue,
            };
            *place = Some(value.into_owned());
        }
        listed
    }

    /// How many are on a page.
    pub fn limit(&self, default: u32, most: u32) -> Result<u32, ApiError> {
        let Some(asked) = &self.limit else {
            return Ok(default);
        };
        let limit = asked
            .parse()
            .ok()
            .filter(|limit| (1..=most).contains(limit));
        limit.ok_or_else(|| {
            let message = format!("found {asked:?}, expected 1 to {most}");
            ApiError::invalid("limit", message)
        })
    }

    pub fn order(&self, default: SortOrder) -> Result<SortOrder, ApiError> {
        match self.order.as_deref() {
            None => Ok(default),
            Some("asc") => Ok(SortOrder::OldestFirst),
            Some("desc") => Ok(SortOrder::NewestFirst),
            Some(found) => {
                let message = format!("found {found:?}, expected \"asc\" or \"desc\"");
                Err(ApiError::invalid("order", message))
            }
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Listed {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Listed::parse(parts.uri.query().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_strictly_where_it_matters() {
        let listed = Listed::parse("limit=5&after=file-1%32&order=asc&x=y");
        assert_eq!(listed.after.as_deref(), Some("file-12"));
        assert_eq!(listed.limit(20, 100).ok(), Some(5));
        assert_eq!(
            listed.order(SortOrder::NewestFirst).ok(),
            Some(SortOrder::OldestFirst)
        );
        for wrong in ["limit=0", "limit=101", "limit=x", "limit=-1"] {
            assert!(Listed::parse(wrong).limit(20, 100).is_err(), "{wrong}");
        }
        assert!(
            Listed::parse("order=up")
                .order(SortOrder::NewestFirst)
                .is_err()
        );
    }
}
