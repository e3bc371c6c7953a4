//! What is asked: the parameters of a request. What cannot be read is refused, with what can.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use reprise_model::digest::{BlockHash, ParseDigestError};
use reprise_store::beginning::Beginning;
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::view::{Block, View};

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

/// How the hash of a block begins, in hexadecimal, or the whole of it: as it is printed, with blk: or without, and with … or without.
pub(crate) struct BlockBeginning(Beginning);

/// A shorter beginning is more likely a number than a hash.
const BEGINNING_MIN: usize = 4;

impl FromStr for BlockBeginning {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let beginning = Beginning::parse("blk:", text).filter(|it| it.hex().len() >= BEGINNING_MIN);
        beginning.map(Self).ok_or_else(|| ParseDigestError { text: text.into() })
    }
}

impl BlockBeginning {
    /// The one block that is served and begins so.
    pub(crate) fn find<'v>(&self, view: &'v View) -> Result<&'v Arc<Block>, Problem> {
        let hex = self.0.hex();
        let (lowest, highest) = (BlockHash(self.0.range().start().0), BlockHash(self.0.range().end().0));
        let mut found = view.checkpoints.range(lowest..=highest).filter_map(|(hash, _)| view.block(hash));
        match (found.next(), found.next()) {
            (Some(block), None) => Ok(block),
            (None, _) => Err(Problem::not_found(format!(
                "blk:{hex}: no such block from checkpoint {} on: /v1/chain lists those served",
                view.first
            ))),
            (Some(_), Some(_)) => {
                Err(Problem::conflict(format!("blk:{hex}: several blocks begin so: say more of it")))
            }
        }
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

/// The most things that one request looks at, however few of them fit.
pub(crate) const LOOKED_AT_MAX: usize = 2_000;

/// A page of a list.
#[derive(Debug)]
pub(crate) struct Page<T, K> {
    /// What fits, in the list's order.
    pub(crate) items: Vec<T>,
    /// The place of the last thing that was looked at, where others come after it.
    pub(crate) next: Option<K>,
}

impl<T, K: Copy> Page<T, K> {
    /// Looks at things in the list's order, until so many fit or [enough](LOOKED_AT_MAX) were looked at.
    pub(crate) fn of<V>(
        things: impl IntoIterator<Item = (K, V)>,
        mut fitting: impl FnMut(K, V) -> Option<T>,
        limit: usize,
    ) -> Self {
        let (mut items, mut last) = (vec![], None);
        for (looked_at, (key, thing)) in things.into_iter().enumerate() {
            if items.len() == limit || looked_at == LOOKED_AT_MAX {
                return Self { items, next: last };
            }
            items.extend(fitting(key, thing));
            last = Some(key);
        }
        Self { items, next: None }
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_page_looks_at_so_much_at_most_and_its_pages_hold_all_that_fits_once() {
        const THINGS: usize = 5 * LOOKED_AT_MAX + 7;
        for every in [1, 2, 700, LOOKED_AT_MAX, 3 * LOOKED_AT_MAX, THINGS + 1] {
            for limit in [1, 100, 500] {
                let (mut found, mut after, mut pages) = (vec![], None, 0);
                loop {
                    let looked_at = Cell::new(0);
                    let rest = (after.map_or(0, |after| after + 1)..THINGS).map(|at| (at, at));
                    let fitting = |at: usize, _| {
                        looked_at.set(looked_at.get() + 1);
                        (at % every == every - 1).then_some(at)
                    };
                    let page = Page::of(rest, fitting, limit);
                    assert!(looked_at.get() <= LOOKED_AT_MAX && page.items.len() <= limit);
                    found.extend(page.items);
                    pages += 1;
                    let Some(next) = page.next else { break };
                    assert!(after.is_none_or(|after| after < next));
                    after = Some(next);
                }
                let all: Vec<usize> = (0..THINGS).filter(|at| at % every == every - 1).collect();
                assert_eq!(found, all, "one of {every}, {limit} a page");
                assert!(pages <= 1 + all.len() / limit + THINGS / LOOKED_AT_MAX, "{pages} pages");
            }
        }
    }

    #[test]
    fn a_beginning_is_every_block_between_its_lowest_and_its_highest_hash() {
        let BlockBeginning(beginning) = "blk:0A1b2…".parse().unwrap();
        assert_eq!(beginning.hex(), "0a1b2");
        let hash = |fill: &str| format!("0a1b2{}", fill.repeat(59)).parse::<BlockHash>().unwrap().digest();
        assert_eq!(*beginning.range(), hash("0")..=hash("f"));
        for wrong in ["", "0a1", "blk:", "zebra", "0a1b2…c", &"0".repeat(65)] {
            assert!(wrong.parse::<BlockBeginning>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_last_page_that_is_full_says_that_it_is_the_last() {
        let page = Page::of((0..3).map(|at| (at, at)), |at, _| Some(at), 3);
        assert_eq!((page.items.len(), page.next), (3, None));
    }
}
