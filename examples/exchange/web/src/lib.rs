//! The exchange for a page: `adapters/web/build reprise-example-exchange-web DIR` makes a module of WebAssembly.

use reprise_client::json;
use reprise_example_exchange_semantics::{Exchange, Held, Message};

reprise_web::exports!(call);

/// Answers a request: `reprise_client::json` says which there are.
pub fn call(request: &str) -> String {
    json::call::<Message, Held>(Exchange::example(), request)
}
