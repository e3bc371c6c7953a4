//! The exchange for a page: `adapters/web/build reprise-example-exchange-web DIR` makes a module of WebAssembly.

use reprise_client::json;
use reprise_example_exchange_semantics::{Exchange, Held, Message};

reprise_web::exports!(call);

/// Answers a request: `reprise_client::json` says which there are.
pub fn call(request: &str) -> String {
    json::call::<Message, Held>(Exchange::example(), request)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use serde_json::Value;

    #[test]
    fn the_client_answers_the_test_vectors() {
        let vectors: Vec<Value> = serde_json::from_str(include_str!("../vectors.json")).unwrap();
        assert!(vectors.len() > 10);
        for vector in vectors {
            let answer: Value = serde_json::from_str(&super::call(&vector["request"].to_string())).unwrap();
            match vector["answer"].get("ok") {
                Some(ok) => assert_eq!(answer.get("ok"), Some(ok), "{}", vector["request"]),
                None => assert!(answer["error"].is_string(), "{}", vector["request"]),
            }
        }
    }
}
