//! What a change has come to between its write and its sync.

/// How certain a change is to survive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The next sync makes it durable.
    Pending,
    /// A sync of it failed: no later one makes it durable.
    Doubtful,
    /// It is durable, and follows one that is not.
    Durable,
}

/// A sync passed: applies what is pending to the durable state. A change that follows one in doubt stays in the list, so
/// that the order is kept.
pub(super) fn settle<C, D>(changes: &mut Vec<(C, Standing)>, durable: &mut D, apply: impl Fn(&C, &mut D)) {
    for (_, standing) in changes.iter_mut().filter(|(_, standing)| *standing == Standing::Pending) {
        *standing = Standing::Durable;
    }
    let certain = changes.iter().take_while(|(_, standing)| *standing == Standing::Durable).count();
    for (change, _) in changes.drain(..certain) {
        apply(&change, durable);
    }
}

/// A sync failed: what was pending is in doubt.
pub(super) fn doubt<C>(changes: &mut [(C, Standing)]) {
    for (_, standing) in changes.iter_mut().filter(|(_, standing)| *standing == Standing::Pending) {
        *standing = Standing::Doubtful;
    }
}
