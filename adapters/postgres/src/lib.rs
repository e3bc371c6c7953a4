//! The jobs of a fleet in PostgreSQL, 15 or newer.
//!
//! | module | noun |
//! |---|---|
//! | [`table`] | [`PostgresTable`](table::PostgresTable): the port of `reprise-jobs`, over tables of a database |
//! | `rows` | what a row holds, and the statements that read and write rows |
//! | `schema` | the layout of the tables, and how an older one becomes it |
//! | `pool` | connections: bounded, each given back or dropped; errors, told apart |
//! | `bell` | who waits is woken by a notification |
//! | `scratch` | a server of a test's own, behind the feature `test-utils` |
//! | `address` | where the database is, and whether the way there is encrypted |
//!
//! * Whatever a request changes it changes in one transaction, under locks on its rows. What a row means is decided by
//!   `reprise_jobs::machine` between reading and writing it, so that it is decided in one place for every table.
//! * Claims skip rows that others are at (`FOR UPDATE SKIP LOCKED`), so that workers do not wait for each other. Locks
//!   on jobs are taken before those on workers, each in one order, so that no two requests wait for each other.
//! * Nothing outlives a transaction: no prepared statement, no setting, no lock of a session. A pooler in transaction mode
//!   may stand between. `NOTIFY` wakes whoever waits and may be lost; what it would say is asked for all the same.
//! * The time is the server's, so that the clocks of the machines do not matter.

mod address;
mod bell;
mod pool;
mod rows;
mod schema;
#[cfg(feature = "test-utils")]
pub mod scratch;
pub mod table;
