//! Modules of WebAssembly for a page: a call takes JSON and answers with JSON.
//!
//! A module is a crate of the type `cdylib` that says what it answers:
//!
//! ```
//! # #![allow(unsafe_code)]
//! reprise_web::exports!(|request| format!(r#"{{"ok":{}}}"#, request.len()));
//! # fn main() {}
//! ```
//!
//! `build PACKAGE DIR` beside this crate compiles one, with `client.mjs` and its types beside it. No other tool is needed: a module
//! has three exports, and imports nothing.
//!
//! | export | |
//! |---|---|
//! | `request(length)` | where the page writes so many bytes: a request, in UTF-8 |
//! | `answer()` | answers the request; how many bytes the answer has |
//! | `answered()` | where it is, until the next request |

use std::sync::{Mutex, PoisonError};

/// A request, and then its answer.
static BYTES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Exports what a page calls. The one argument answers a request: a function of `&str` to `String`.
///
/// ```
/// # #![allow(unsafe_code)]
/// /// Answers every request alike. A workload's module gives `reprise_client::json::call` here.
/// fn answered(request: &str) -> String {
///     format!(r#"{{"error":"{} bytes that nobody understands"}}"#, request.len())
/// }
///
/// mod module {
///     reprise_web::exports!(super::answered);
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! exports {
    ($answer:expr) => {
        /// Where the page writes so many bytes of a request.
        #[unsafe(no_mangle)]
        #[expect(unsafe_code, reason = "a page calls it by this name")]
        pub extern "C" fn request(length: usize) -> *mut u8 {
            $crate::request(length)
        }

        /// Answers the request: how many bytes the answer has.
        #[unsafe(no_mangle)]
        #[expect(unsafe_code, reason = "a page calls it by this name")]
        pub extern "C" fn answer() -> usize {
            let answer: fn(&str) -> String = $answer;
            $crate::answer(answer)
        }

        /// Where the answer is.
        #[unsafe(no_mangle)]
        #[expect(unsafe_code, reason = "a page calls it by this name")]
        pub extern "C" fn answered() -> *const u8 {
            $crate::answered()
        }
    };
}

/// Room for a request of so many bytes.
#[doc(hidden)]
pub fn request(length: usize) -> *mut u8 {
    let mut bytes = BYTES.lock().unwrap_or_else(PoisonError::into_inner);
    bytes.clear();
    bytes.resize(length, 0);
    bytes.as_mut_ptr()
}

/// Answers what was written there; the length of the answer.
#[doc(hidden)]
pub fn answer(answer: fn(&str) -> String) -> usize {
    let mut bytes = BYTES.lock().unwrap_or_else(PoisonError::into_inner);
    let answered = answer(&String::from_utf8_lossy(&bytes));
    *bytes = answered.into_bytes();
    bytes.len()
}

/// Where the answer is.
#[doc(hidden)]
pub fn answered() -> *const u8 {
    BYTES.lock().unwrap_or_else(PoisonError::into_inner).as_ptr()
}
