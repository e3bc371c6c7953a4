//! Many seeds, on all cores.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What `count` seeds from `first` on give, on all cores, in their order. `done` is called as each ends. Where it breaks off, no
/// other seed is begun.
pub(crate) fn over_seeds<T: Send, E: Send>(
    first: u64,
    count: u64,
    run: impl Fn(u64) -> Result<T, E> + Sync,
    done: &(dyn Fn(&T) -> ControlFlow<()> + Sync),
) -> Result<Vec<T>, E> {
    let next = AtomicU64::new(0);
    let results: Mutex<BTreeMap<u64, T>> = Mutex::default();
    let failure: Mutex<Option<E>> = Mutex::new(None);
    let work = || {
        loop {
            let offset = next.fetch_add(1, Ordering::Relaxed);
            if offset >= count {
                return;
            }
            match run(first.wrapping_add(offset)) {
                Ok(result) => {
                    if done(&result).is_break() {
                        next.store(count, Ordering::Relaxed);
                    }
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(offset, result);
                }
                Err(error) => {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return;
                }
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores.min(count as usize) {
            scope.spawn(work);
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()),
    }
}
