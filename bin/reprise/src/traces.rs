//! Traces for OpenTelemetry: one for each block with lane transactions, from its acceptance to its settlement.
//!
//! ```text
//! block ──────────────────────────────────────────────►   accepted … settled
//!   execute ▪                                             native execution, which is over when the block is told
//!       prove ───────►      store ──►                     for each proof that is made for the block
//!                 prove ──►   store ►
//!                                        settle ───────►  submitted … carried by the chain
//! ```
//!
//! What a stored receipt answers is an event, `reused`, and so is leaving the chain and returning to it. A block that does not return ends
//! its trace, with an error, when that is final.
//!
//! They go where the variable `OTEL_EXPORTER_OTLP_ENDPOINT` says, over HTTP as JSON; without it nothing is traced. Batches are sent
//! by a thread of the library: the pipeline does not wait for a collector, and spans that none takes are dropped.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use opentelemetry::trace::{Span as _, SpanBuilder, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use reprise_chain::event::ChainEvent;
use reprise_model::digest::{BlockHash, StatementId};
use reprise_model::order::{Order, Work};
use reprise_model::scheduled::ScheduledBlock;
use reprise_node::event::{Observer, PipelineEvent};

/// The variable that names the collector.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// How many blocks are traced at a time. Of more the lowest ends its trace.
const OPEN_MAX: usize = 10_000;

/// Sends what the exporter has, blocking, on the exporter's own thread.
#[derive(Debug)]
struct Client(ureq::Agent);

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let mut call = self.0.post(parts.uri.to_string());
        for (name, value) in &parts.headers {
            call = call.header(name.as_str(), value.as_bytes());
        }
        let mut answer = call.send(body.as_ref())?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_vec()?;
        Ok(Response::builder().status(status).body(body.into())?)
    }
}

/// A block's trace.
struct Traced {
    block: Span,
    checkpoint: u64,
    canonical: bool,
}

/// See the [module](self).
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// By checkpoint and block.
    open: BTreeMap<(u64, BlockHash), Traced>,
    checkpoints: HashMap<BlockHash, u64>,
    proving: HashMap<StatementId, Span>,
    storing: HashMap<StatementId, Span>,
    settling: HashMap<StatementId, Span>,
    /// The block that each settlement ends with.
    ends: HashMap<StatementId, BlockHash>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").finish_non_exhaustive()
    }
}

impl Traces {
    /// Traces to the collector that the environment names; `None` where it names none.
    pub(crate) fn from_environment() -> Result<Option<Self>, String> {
        if std::env::var_os(ENDPOINT).is_none_or(|endpoint| endpoint.is_empty()) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client(ureq::Agent::new_with_defaults()))
            .with_protocol(Protocol::HttpJson)
            .build()
            .map_err(|e| format!("{ENDPOINT}: {e}: name a collector, for instance http://127.0.0.1:4318"))?;
        let resource = Resource::builder().with_service_name("reprise").build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tracer = provider.tracer("reprise");
        Ok(Some(Self {
            provider,
            tracer,
            open: BTreeMap::new(),
            checkpoints: HashMap::new(),
            proving: HashMap::new(),
            storing: HashMap::new(),
            settling: HashMap::new(),
            ends: HashMap::new(),
        }))
    }

    fn of(&mut self, block: &BlockHash) -> Option<&mut Traced> {
        let checkpoint = *self.checkpoints.get(block)?;
        self.open.get_mut(&(checkpoint, *block))
    }

    /// Begins a span below that of a block.
    fn begin(&mut self, block: &BlockHash, name: &'static str, attributes: Vec<KeyValue>) -> Option<Span> {
        let parent = self.of(block)?.block.span_context().clone();
        let parent = Context::new().with_remote_span_context(parent);
        let span = SpanBuilder::from_name(name).with_attributes(attributes);
        Some(self.tracer.build_with_context(span, &parent))
    }

    fn note(&mut self, block: &BlockHash, what: &'static str, attributes: Vec<KeyValue>) {
        if let Some(traced) = self.of(block) {
            traced.block.add_event(what, attributes);
        }
    }

    fn close(&mut self, key: &(u64, BlockHash), status: Status) {
        self.checkpoints.remove(&key.1);
        if let Some(mut traced) = self.open.remove(key) {
            traced.block.set_status(status);
            traced.block.end();
        }
    }

    fn on_chain(&mut self, event: &ChainEvent, blocks: &[ScheduledBlock]) {
        for removed in &event.removed {
            let hash = removed.block_hash();
            self.note(&hash, "orphaned", vec![]);
            if let Some(traced) = self.of(&hash) {
                traced.canonical = false;
            }
        }
        for (added, executed) in event.added.iter().zip(blocks) {
            let (hash, checkpoint) = (added.metadata.block_hash(), added.metadata.checkpoint.0);
            if let Some(traced) = self.of(&hash) {
                traced.canonical = true;
                traced.block.add_event("returned", vec![]);
            } else if !executed.transactions.is_empty() {
                self.accepted(hash, checkpoint, executed.transactions.len());
            }
            for settlement in &added.block.settlements {
                let carrier = vec![KeyValue::new("reprise.carrier", hash.to_string())];
                self.settled(&settlement.statement, &settlement.end_block, carrier);
            }
        }
        let left = |(_, traced): &(&(u64, BlockHash), &Traced)| {
            !traced.canonical && traced.checkpoint <= event.finalized.0
        };
        let left: Vec<_> = self.open.iter().filter(left).map(|(key, _)| *key).collect();
        left.iter().for_each(|key| self.close(key, Status::error("orphaned for good")));
        while self.open.len() > OPEN_MAX {
            let Some(lowest) = self.open.keys().next().copied() else { break };
            self.close(&lowest, Status::Unset);
        }
    }

    fn accepted(&mut self, hash: BlockHash, checkpoint: u64, transactions: usize) {
        let attributes = vec![
            KeyValue::new("reprise.block", hash.to_string()),
            KeyValue::new("reprise.checkpoint", i64::try_from(checkpoint).unwrap_or(i64::MAX)),
            KeyValue::new("reprise.transactions", i64::try_from(transactions).unwrap_or(i64::MAX)),
        ];
        let span = SpanBuilder::from_name("block").with_attributes(attributes);
        let block = self.tracer.build_with_context(span, &Context::new());
        self.checkpoints.insert(hash, checkpoint);
        self.open.insert((checkpoint, hash), Traced { block, checkpoint, canonical: true });
        drop(self.begin(&hash, "execute", vec![]));
    }

    /// The chain carries a settlement: every canonical block up to its end is done.
    fn settled(&mut self, statement: &StatementId, end: &BlockHash, attributes: Vec<KeyValue>) {
        drop(self.settling.remove(statement));
        // The block that a settlement names may be a later one, without transactions: the bundle's own end is known where it was wanted here.
        let end = self.ends.remove(statement).unwrap_or(*end);
        let Some(end) = self.checkpoints.get(&end).copied() else { return };
        let covered = self.open.range(..=(end, BlockHash([0xff; 32])));
        let covered: Vec<_> = covered.filter(|(_, traced)| traced.canonical).map(|(key, _)| *key).collect();
        for key in covered {
            self.note(&key.1, "settled", attributes.clone());
            self.close(&key, Status::Ok);
        }
    }

    fn proof(order: &Order) -> Vec<KeyValue> {
        vec![
            KeyValue::new("reprise.statement", order.id.to_string()),
            KeyValue::new("reprise.kind", order.kind().to_string()),
        ]
    }
}

impl Observer for Traces {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Chain { event, blocks } => self.on_chain(event, blocks),
            PipelineEvent::Wanted { added, .. } => {
                for order in added.iter().filter(|order| matches!(order.work, Work::Settle { .. })) {
                    self.ends.insert(order.id, order.coordinate.block_hash);
                }
            }
            PipelineEvent::Reused(id, at) => {
                let attributes = vec![KeyValue::new("reprise.statement", id.to_string())];
                self.note(&at.block_hash, "reused", attributes);
            }
            PipelineEvent::Proving(order, device) => {
                let mut attributes = Self::proof(order);
                attributes.push(KeyValue::new("reprise.device", i64::try_from(*device).unwrap_or(i64::MAX)));
                if let Some(span) = self.begin(&order.coordinate.block_hash, "prove", attributes) {
                    self.proving.insert(order.id, span);
                }
            }
            PipelineEvent::Proved { order, failure, .. } => {
                let Some(mut span) = self.proving.remove(&order.id) else { return };
                match failure {
                    Some(failure) => span.set_status(Status::error(failure.clone())),
                    None => {
                        let storing = self.begin(&order.coordinate.block_hash, "store", Self::proof(order));
                        self.storing.extend(storing.map(|span| (order.id, span)));
                    }
                }
                span.end();
            }
            PipelineEvent::Stored(order) => drop(self.storing.remove(&order.id)),
            PipelineEvent::Submitted(id) => {
                if let Some(end) = self.ends.get(id).copied().filter(|_| !self.settling.contains_key(id)) {
                    let attributes = vec![KeyValue::new("reprise.statement", id.to_string())];
                    let span = self.begin(&end, "settle", attributes);
                    self.settling.extend(span.map(|span| (*id, span)));
                }
            }
            _ => {}
        }
    }
}

/// What is open ends with the run, and everything is sent.
impl Drop for Traces {
    fn drop(&mut self) {
        self.proving.clear();
        self.storing.clear();
        self.settling.clear();
        let open: Vec<_> = self.open.keys().copied().collect();
        open.iter().for_each(|key| self.close(key, Status::Unset));
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "not every span was sent");
        }
    }
}
