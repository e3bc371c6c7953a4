//! What users send and what the state holds, as types.

use alloc::vec::Vec;

use reprise_model::cell::Cell;

/// A message of a workload. Each has one encoding: what [`decode`](Self::decode) takes, [`encode`](Self::encode) gives back.
///
/// ```
/// use reprise_client::Message;
///
/// struct Hello;
///
/// impl Message for Hello {
///     fn encode(&self) -> Vec<u8> {
///         b"hello".to_vec()
///     }
///
///     fn decode(bytes: &[u8]) -> Option<Self> {
///         (bytes == b"hello").then_some(Self)
///     }
/// }
///
/// assert!(Hello::decode(&Hello.encode()).is_some());
/// assert!(Hello::decode(b"goodbye").is_none());
/// ```
pub trait Message: Sized {
    /// The bytes that a processor reads.
    fn encode(&self) -> Vec<u8>;

    /// Reads a message; `None` where it is malformed. It never panics, whatever the bytes are.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// A value in a workload's state.
///
/// ```
/// use reprise_client::Value;
/// use reprise_model::cell::Cell;
///
/// struct Count(u32);
///
/// impl Value for Count {
///     fn of(cells: &[Cell]) -> Option<Self> {
///         let [[count, 0, 0, 0, 0, 0, 0, 0]] = cells else { return None };
///         Some(Self(*count))
///     }
/// }
///
/// assert!(matches!(Count::of(&[[7, 0, 0, 0, 0, 0, 0, 0]]), Some(Count(7))));
/// ```
pub trait Value: Sized {
    /// Reads the cells of a resource that is present; `None` where they are none of the workload's.
    fn of(cells: &[Cell]) -> Option<Self>;
}
