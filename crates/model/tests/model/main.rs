//! The words of the house: what they encode to, and what each digest depends on.

mod digests;
mod golden;
mod kept;
mod receipts;
