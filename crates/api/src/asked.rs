//! What is asked: the parameters of a request. What cannot be read is refused, with what can.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use reprise_model::digest::ParseDigestError;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The parameters of a query.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(asked) = Query::from_request_parts(parts, state).await.map_err(|e| {
            Problem::bad_request(format!("{}: /openapi.json lists the parameters", e.body_text()))
        })?;
        Ok(Self(asked))
    }
}

/// An id in the path.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: FromStr<Err = ParseDigestError>, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|e| Problem::bad_request(e.body_text()))?;
        parse(&text).map(Self)
    }
}

/// An id in a request.
pub(crate) fn parse<T: FromStr<Err = ParseDigestError>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|e: ParseDigestError| Problem::bad_request(e.to_string()))
}

/// How many are asked for.
pub(crate) fn limit(asked: Option<u32>, default: u32, max: u32) -> Result<usize, Problem> {
    match asked.unwrap_or(default) {
        limit if (1..=max).contains(&limit) => Ok(limit as usize),
        limit => Err(Problem::bad_request(format!("limit {limit}: it is 1 to {max}"))),
    }
}

/// Reads a cursor: the parts of a key, with dots between.
pub(crate) fn cursor<const N: usize>(text: &str) -> Result<[&str; N], Problem> {
    let parts: Vec<&str> = text.split('.').collect();
    parts.try_into().map_err(|_| not_given(text))
}

/// A number in a cursor.
pub(crate) fn number<T: FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| not_given(text))
}

fn not_given(text: &str) -> Problem {
    Problem::bad_request(format!("after {text}: give the `next` of the page before"))
}
