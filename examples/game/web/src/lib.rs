//! The game for a page: `adapters/web/build reprise-example-game-web DIR` makes a module of WebAssembly.

use reprise_client::json;
use reprise_example_game_semantics::{Game, Message, Played};

reprise_web::exports!(call);

/// Answers a request: `reprise_client::json` says which there are.
pub fn call(request: &str) -> String {
    json::call::<Message, Played>(Game, request)
}
