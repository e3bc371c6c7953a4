//! The engine in memory, lost when its process ends: for tests.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use crate::engine::{Changes, Pair, StorageEngine, Table};
use crate::port::StoreError;

/// All tables, one after the other.
type Sorted = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// Sorted tables in memory. "Durable" means until the process ends.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    tables: RwLock<Sorted>,
}

impl StorageEngine for MemoryEngine {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        Ok(tables.get(&(table, key.to_vec())).cloned())
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        Ok(tables.contains_key(&(table, key.to_vec())))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(Vec::new());
        }
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let end = to.map_or(Bound::Unbounded, |to| Bound::Excluded((table, to.to_vec())));
        Ok(tables
            .range((Bound::Included((table, from.to_vec())), end))
            .take_while(|((of, _), _)| *of == table)
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    fn commit(&self, changes: Changes, _sync: bool) -> Result<(), StoreError> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        for (place, change) in changes {
            match change {
                Some(value) => tables.insert(place, value),
                None => tables.remove(&place),
            };
        }
        Ok(())
    }

    fn quarantine(&self, _name: &str, _bytes: &[u8], _reason: &str) -> Result<(), StoreError> {
        Ok(())
    }
}
