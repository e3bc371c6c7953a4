//! The rollup for a page: `adapters/web/build {{name}}-web DIR` of Reprise makes a module of WebAssembly.

use {{ident}}_semantics::{Counter, Counters, Message};

reprise_web::exports!(|request| reprise_client::json::call::<Message, Counter>(Counters, request));
