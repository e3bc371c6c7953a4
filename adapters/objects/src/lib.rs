//! What a fleet shares, in an object store: S3, what speaks like it, or a directory.
//!
//! | module | noun |
//! |---|---|
//! | [`store`] | [`ObjectStore`](store::Store): the port of `reprise-fleet`, over the crate `object_store` |
//! | `address` | where the objects are |
//!
//! An object is created where there is none, if the store can tell (`If-None-Match`, a link in a file system). One that
//! cannot is looked at and written: two who write at once each write a receipt that verifies, and either may stay.

mod address;
pub mod store;
