//! The whole pipeline over the dev chain and the mock backend: the promises, end to end.

mod flip;
mod house;
