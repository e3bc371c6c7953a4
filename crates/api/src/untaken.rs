//! The bytes of answers that clients have not taken yet, bounded over all clients.
//!
//! An answer is made whole, and its client takes it at a pace of its own. So slow clients could hold as many large answers as there may
//! be connections. Here a large answer holds its size of a common budget until its last piece is handed on, and one that does not fit
//! is refused.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{self, Body, HttpBody};
use axum::http::header::{CONTENT_LENGTH, HeaderValue};
use axum::response::Response;
use futures_util::stream;
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// What is handed on at a time, and the size up to which an answer counts for nothing.
const PIECE: usize = 16 * 1024;

/// The unit of the budget, in bytes.
const UNIT: usize = 1024;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Untaken {
    budget: Arc<Semaphore>,
    whole: usize,
}

impl Untaken {
    /// A budget of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let whole = bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        Self { budget: Arc::new(Semaphore::new(whole)), whole }
    }

    /// Holds what an answer takes of the budget, until it is taken. One that is larger than the whole budget takes all of it.
    pub(crate) async fn hold(&self, response: Response) -> Result<Response, Problem> {
        // A stream of changes has no size, and holds nothing.
        let size = response.body().size_hint().exact().and_then(|size| usize::try_from(size).ok());
        let Some(size) = size.filter(|size| *size > PIECE) else { return Ok(response) };
        let share = u32::try_from(size.div_ceil(UNIT).min(self.whole)).unwrap_or(u32::MAX);
        let Ok(share) = self.budget.clone().try_acquire_many_owned(share) else {
            return Err(Problem::unavailable(
                "as many bytes of answers as may be wait for their clients: take them, or ask for less",
            ));
        };
        let (mut parts, body) = response.into_parts();
        let unread = |_| Problem::unavailable("the answer cannot be read");
        let bytes = body::to_bytes(body, usize::MAX).await.map_err(unread)?;
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        let pieces = stream::unfold((bytes, share), |(mut rest, share)| async move {
            let piece = rest.split_to(rest.len().min(PIECE));
            (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (rest, share)))
        });
        Ok(Response::from_parts(parts, Body::from_stream(pieces)))
    }
}
