//! Deliberate bugs, which test that the simulator's checkers find the errors that they are for.
//!
//! Only the build of that test enables the feature `mutations`. Without it, [`is`] is always `false` and the
//! compiler removes the code of the bugs. With it, at most one bug is live at a time, for the whole process.
//! A bug is one `if` on [`is`] in the code under test.

/// One deliberate bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutation {
    /// An artifact is published when its proof is made, before the proof is durable.
    PublishBeforeDurable = 1,
    /// A statement's identity leaves out the end of its journal.
    KeyWithoutEnd,
    /// A reorg deletes the receipts of the blocks it orphans.
    DeleteOnReorg,
    /// The answers to some look-ups are dropped.
    LostAnswer,
    /// A receipt stored late, below the prune floor, is kept.
    KeepBelowFloor,
    /// A temporary failure is taken for a permanent one.
    CachedFailure,
    /// A receipt is stored under the next block's checkpoint.
    WrongPlace,
    /// One more proof runs than there are permits.
    OnePermitMore,
    /// The stored receipts of orphaned blocks are taken for missing.
    ForgetOrphans,
    /// Everything settled is pruned, final or not.
    PruneBeforeFinal,
    /// A stored receipt is returned although nothing checked its checksum.
    UncheckedRead,
    /// A write is acknowledged before it is synced.
    AcknowledgeBeforeSync,
    /// A reorg does not undo a settlement.
    SettledForEver,
    /// A refusal stands although the L1 has since accepted what it refused.
    RefusalForEver,
    /// A valid proof that arrives late is dropped.
    DropLate,
    /// A completion is taken whatever its fencing token is.
    NoFencing,
    /// A worker says that it still works less often than its lease asks for.
    LateHeartbeat,
    /// A shared receipt is believed before it is verified.
    BelieveUnverified,
    /// A shared receipt is pruned by one node's floor alone.
    DeleteUnderFloor,
    /// Whoever waits looks only when it is told to.
    LostWakeUp,
    /// A page of the chain is taken as a whole or not at all: over a connection that breaks within every page it never ends.
    PageNeverEnds,
    /// A snapshot is believed, whatever its checksums and its state root are.
    SnapshotNotVerified,
    /// A process that does not get the lock of a directory opens its files all the same, and cuts them.
    CutWithoutLock,
    /// The prune floor of a directory is one for everything that is proved in it.
    FloorShared,
    /// A frame of a log is believed by its head, whatever its body is.
    TornRecordBelieved,
    /// A claim is among what a database that crashes may have lost.
    ForgottenClaim,
    /// The covenant takes a settlement whatever its proof is.
    SettleUnproven,
    /// A reorg does not undo the payment of an exit.
    PaidForEver,
    /// An exit that is paid is owed all the same.
    OwedTwice,
    /// Who begins with a snapshot forgets the oldest settlement that owes exits.
    ForgetExit,
    /// Who begins with a snapshot does not tell its payer what is owed.
    OwedUntold,
    /// A slot that is taken does not hold another resource.
    SlotHoldsOne,
    /// A snapshot is taken for the chain's own before the chain has shown its settlement.
    SnapshotUnconfirmed,
}

impl Mutation {
    /// Those that a fleet must be looked at for.
    pub const OF_FLEETS: [Self; 6] = [
        Self::NoFencing,
        Self::LateHeartbeat,
        Self::BelieveUnverified,
        Self::DeleteUnderFloor,
        Self::LostWakeUp,
        Self::ForgottenClaim,
    ];

    /// Those that a simulated world must show.
    pub const ALL: [Self; 26] = [
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
        Self::SnapshotNotVerified,
        Self::CutWithoutLock,
        Self::FloorShared,
        Self::TornRecordBelieved,
        Self::SettleUnproven,
        Self::PaidForEver,
        Self::OwedTwice,
        Self::ForgetExit,
        Self::OwedUntold,
        Self::SlotHoldsOne,
        Self::SnapshotUnconfirmed,
    ];

    /// Those of the follower of a live L1, which no simulated world has.
    pub const OF_FOLLOWER: [Self; 1] = [Self::PageNeverEnds];
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
