//! A node over HTTP: what it does as JSON, as a stream of changes, and as a page that shows the fork tree.
//!
//! ```text
//! PipelineEvent ─► projection ─► View ─► routes, stream ─► server ─► clients
//!  pipeline's thread (publisher)   │            a thread of its own
//!                       a pointer is swapped
//! ```
//!
//! The pipeline's thread projects its events and swaps a pointer; it never waits for a client. The server reads what was
//! published last. `docs/api.md` describes what is served; the document at `/openapi.json` is generated from [`view`] and `routes`.
//!
//! | module | noun |
//! |---|---|
//! | [`view`] | what is served: plain data, as of one moment |
//! | [`projection`] | from events to a view: pure, within a window |
//! | [`publisher`] | the observer that projects and publishes |
//! | [`retold`] | what a directory tells of the runs that made it |
//! | [`served`] | what a server serves from |
//! | [`problem`] | errors as problem details |
//! | [`state`] | the state, with what proves it |
//! | [`transactions`] | the lane's transactions, and how far each has come |
//! | [`owed`] | what settlements owe, laid out for look-ups |
//! | [`exits`] | the exits that settlements owe, with their paths |
//! | `places` | which receipts answer where, and why none does |
//! | [`jobs`] | the jobs and workers of a fleet, as they are served |
//! | `fleet` | what is asked of a fleet and decided about it |
//! | `asked` | the parameters of a request |
//! | `stream` | the changes, as server-sent events |
//! | `untaken` | the bytes of answers that clients have not taken |
//! | `page` | the page's files |
//! | [`routes`] | what is asked and answered, and the document of it |
//! | [`server`] | sockets and limits |

mod asked;
pub mod exits;
mod fleet;
pub mod jobs;
pub mod owed;
mod page;
mod places;
pub mod problem;
pub mod projection;
pub mod publisher;
pub mod retold;
pub mod routes;
pub mod served;
pub mod server;
pub mod state;
mod stream;
pub mod transactions;
mod untaken;
pub mod view;
