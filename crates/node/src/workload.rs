//! Workloads: what a rollup developer brings. The pipeline proves any of them alike.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;

use reprise_model::processor::Processor;

use crate::traffic::Traffic;

/// What a rollup does, and what each proof system needs to prove it.
///
/// The [`Processor`] is the whole meaning of the rollup: the node executes it, the mock proves it, and a guest of RISC Zero
/// compiles it. A proof system takes the programs that prove it as a value of a type of its own, which
/// [`with_programs`](Self::with_programs) adds.
///
/// ```
/// use reprise_model::digest::ResourceId;
/// use reprise_model::journal::{Outcome, TransactionEffects};
/// use reprise_model::processor::{Processor, ResourceView};
/// use reprise_model::transaction::TransactionFacts;
/// use reprise_node::workload::Workload;
///
/// /// Every account counts how often it has said `tick`.
/// struct Ticks;
///
/// impl Processor for Ticks {
///     fn declare(&self, message: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> {
///         (message == b"tick").then(|| vec![facts.authority])
///     }
///
///     fn execute(&self, _: &[u8], facts: &TransactionFacts, view: &ResourceView<'_>) -> TransactionEffects {
///         let Ok(value) = view.read(&facts.authority) else {
///             return TransactionEffects::failure(Outcome::UNDECLARED_ACCESS);
///         };
///         let ticks = value.map_or(0, |cells| cells[0][0]);
///         let after = vec![[ticks.saturating_add(1), 0, 0, 0, 0, 0, 0, 0]];
///         TransactionEffects {
///             outcome: Outcome::SUCCESS,
///             writes: vec![(facts.authority, Some(after))],
///             exits: vec![],
///         }
///     }
/// }
///
/// let workload = Workload::new("ticks", Ticks);
/// assert_eq!(workload.name(), "ticks");
/// ```
#[derive(Clone)]
pub struct Workload {
    name: String,
    processor: Arc<dyn Processor>,
    meaning: TypeId,
    traffic: Option<Arc<dyn Traffic>>,
    recording: Option<&'static [u8]>,
    programs: Vec<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workload").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Workload {
    /// A workload with this meaning, which the mock proves.
    ///
    /// The mock names its programs by the workload's name. So **change the name, or delete the data directory, when you
    /// change what the processor does**: else receipts and records of the old meaning answer for the new one. A real proof
    /// system's programs change their ids themselves.
    pub fn new<P: Processor + 'static>(name: impl Into<String>, processor: P) -> Self {
        let (name, processor) = (name.into(), Arc::new(processor));
        Self { name, processor, meaning: TypeId::of::<P>(), traffic: None, recording: None, programs: vec![] }
    }

    /// The same with generated transactions, for the dev L1, simulated worlds and tests.
    #[must_use]
    pub fn with_traffic(self, traffic: impl Traffic + 'static) -> Self {
        Self { traffic: Some(Arc::new(traffic)), ..self }
    }

    /// The same with the programs by which a proof system proves it, in the form that this proof system takes. A second
    /// value of one type replaces the first.
    ///
    /// ```
    /// use reprise_ledger::Ledger;
    /// use reprise_node::workload::Workload;
    ///
    /// /// The form in which some proof system takes programs.
    /// struct Images([&'static str; 3]);
    ///
    /// let workload = Workload::new("coins", Ledger).with_programs(Images(["transaction", "batch", "aggregate"]));
    /// assert_eq!(workload.programs::<Images>().unwrap().0[1], "batch");
    /// ```
    #[must_use]
    pub fn with_programs<P: Any + Send + Sync>(mut self, programs: P) -> Self {
        self.programs.retain(|known| !known.is::<P>());
        self.programs.push(Arc::new(programs));
        self
    }

    /// The same with a recorded chain that a run replays by default: the bytes of a file that `record` wrote.
    #[must_use]
    pub fn with_recording(self, recording: &'static [u8]) -> Self {
        Self { recording: Some(recording), ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its meaning.
    pub fn processor(&self) -> Arc<dyn Processor> {
        self.processor.clone()
    }

    /// Whether its meaning is a processor of this type, whatever it is called: what is made for one workload, a command or a view,
    /// asks this and not the name.
    ///
    /// ```
    /// use reprise_ledger::Ledger;
    /// use reprise_node::workload::Workload;
    ///
    /// assert!(Workload::new("coins", Ledger).means::<Ledger>());
    /// ```
    pub fn means<P: Processor + 'static>(&self) -> bool {
        self.meaning == TypeId::of::<P>()
    }

    /// Its generated transactions, if it brings any.
    pub fn traffic(&self) -> Option<Arc<dyn Traffic>> {
        self.traffic.clone()
    }

    /// The recorded chain that a run replays by default, if it brings one.
    pub fn recording(&self) -> Option<&'static [u8]> {
        self.recording
    }

    /// The programs of this type, if it brings any.
    pub fn programs<P: Any>(&self) -> Option<&P> {
        self.programs.iter().find_map(|programs| programs.downcast_ref())
    }
}
