//! Deliberate bugs, to prove that the simulator's checkers catch what they are there for.
//!
//! Without the feature `mutations`, which no build but that proof's asks for, [`is`] is `false` for ever and
//! the compiler removes what depends on it. With it at most one bug is live at a time, for the whole process.
//! A bug's site in the code under test is one `if` on [`is`].

/// One deliberate bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutation {
    /// An artifact is published when its proof is there, before it is durable.
    PublishBeforeDurable = 1,
    /// A statement's identity leaves out the end of its journal.
    KeyWithoutEnd,
    /// A reorg deletes the receipts of the blocks it orphans.
    DeleteOnReorg,
    /// The answers to some look-ups are dropped.
    LostAnswer,
    /// What is stored late, below the prune floor, is kept.
    KeepBelowFloor,
    /// A failure that would pass is taken for good.
    CachedFailure,
    /// A receipt is stored under the next block's checkpoint.
    WrongPlace,
    /// One more proof runs than there are permits.
    OnePermitMore,
    /// What is stored of orphaned blocks is taken for missing.
    ForgetOrphans,
    /// Everything settled is pruned, final or not.
    PruneBeforeFinal,
    /// A stored receipt is handed out without a look at its checksum.
    UncheckedRead,
    /// A write is acknowledged without having been synced.
    AcknowledgeBeforeSync,
    /// A reorg takes no settlement away.
    SettledForEver,
    /// A refusal stands although the L1 has taken what it refused.
    RefusalForEver,
    /// A valid proof that comes after its time is dropped.
    DropLate,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::PublishBeforeDurable,
        Self::KeyWithoutEnd,
        Self::DeleteOnReorg,
        Self::LostAnswer,
        Self::KeepBelowFloor,
        Self::CachedFailure,
        Self::WrongPlace,
        Self::OnePermitMore,
        Self::ForgetOrphans,
        Self::PruneBeforeFinal,
        Self::UncheckedRead,
        Self::AcknowledgeBeforeSync,
        Self::SettledForEver,
        Self::RefusalForEver,
        Self::DropLate,
    ];
}

#[cfg(feature = "mutations")]
static LIVE: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(0);

/// Whether this bug is live.
#[cfg(feature = "mutations")]
pub fn is(mutation: Mutation) -> bool {
    LIVE.load(core::sync::atomic::Ordering::Relaxed) == mutation as u8
}

/// Whether this bug is live: never, without the feature.
#[cfg(not(feature = "mutations"))]
pub const fn is(_: Mutation) -> bool {
    false
}

/// Makes this bug, or none, the live one.
#[cfg(feature = "mutations")]
pub fn make(mutation: Option<Mutation>) {
    LIVE.store(mutation.map_or(0, |mutation| mutation as u8), core::sync::atomic::Ordering::Relaxed);
}
