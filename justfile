# `just check` is what every change must pass; `.ci/run` runs the same steps on a bare machine.

# Everything.
check: fmt lint doc deny test

# Formatting, of every workspace.
fmt:
    cargo fmt --all --check
    cargo fmt --all --check --manifest-path harness/Cargo.toml
    cargo fmt --check --manifest-path fuzz/Cargo.toml
    cargo fmt --check --manifest-path benchmark/Cargo.toml

# Clippy over every crate, with and without the real prover, and with a fleet.
lint:
    cargo lint
    cargo clippy --locked --ignore-rust-version --package reprise --no-default-features --all-targets -- -D warnings
    cargo clippy --locked --ignore-rust-version --package reprise --no-default-features --features fleet --all-targets -- -D warnings
    cargo clippy --locked --manifest-path fuzz/Cargo.toml --all-targets -- -D warnings
    cargo clippy --locked --manifest-path benchmark/Cargo.toml --all-targets -- -D warnings

# The documentation, with the pages of private modules, builds without a warning.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --ignore-rust-version --workspace --no-deps --document-private-items

# Licences, sources and bans. (Advisories need the RustSec database: `cargo deny check advisories`.)
deny:
    cargo deny --workspace check licenses bans sources

# The inner loop: the rooms, without a real prover.
core:
    cargo test

# All tests, real recursive proofs included.
test:
    cargo verify

# Writes docs/settings.md anew from the settings.
settings:
    BLESS=1 cargo test --locked --package reprise --no-default-features --lib settings_reference

# The book, into target/book. Needs mdBook (`cargo install mdbook`).
book:
    docs/build

# Writes ops/grafana.json anew from the list of graphs.
board:
    BLESS=1 cargo test --locked --package reprise --no-default-features --lib board

# The alerts, checked and tested by Prometheus's own tool.
alerts:
    promtool check rules ops/alerts.yml
    promtool test rules ops/alerts.test.yml

# The fleet: its jobs in PostgreSQL (15 or newer) and through PgBouncer, both installed; an S3 server (moto[server] from PyPI, named in
# REPRISE_TEST_MOTO where it is not on the path); and real processes that are killed.
fleet:
    cargo test --release --locked --package reprise-postgres -- --include-ignored
    cargo test --release --locked --package reprise-objects -- --include-ignored
    cargo test --release --locked --package reprise --no-default-features --features fleet -- --include-ignored

# The API against its document by Schemathesis, and the page in a real Chromium. Minutes. Needs node, npm, python3 and chromium.
page:
    cargo build --locked --package reprise --no-default-features
    crates/api/tests/outside/run target/debug/reprise

# The picture of the page in the README, anew. Needs node, npm and chromium.
picture:
    cargo build --locked --package reprise --no-default-features
    crates/api/tests/outside/run target/debug/reprise picture

# The Kaspa harness: clippy and the tests that need no node.
harness:
    cargo clippy --locked --all-targets --manifest-path harness/Cargo.toml -- -D warnings
    cargo test --locked --manifest-path harness/Cargo.toml

# RISC Zero: clippy, the programs in the executor. The first build takes a quarter of an hour.
risc0:
    cd adapters/risc0 && ./prepare && cargo lint && cargo verify

# Real succinct proofs in RISC Zero, a transaction, its batch, the aggregate: 15 CPU minutes. `composite` makes the others.
risc0-prove kind="succinct":
    cd adapters/risc0 && ./prepare && cargo test --release --locked --workspace --test risc0 recursion::{{kind}} -- --ignored --nocapture

# RISC Zero's real proofs through the suite that every backend must pass: an hour of CPU.
risc0-conformance:
    cd adapters/risc0 && ./prepare && cargo test --release --locked --workspace --test risc0 conformance -- --ignored --nocapture

# What one proof costs, which the backends' limits follow: Miden's in CPU seconds, RISC Zero's in cycles. Minutes.
cost:
    cargo test --release --locked --ignore-rust-version --workspace --test miden cost -- --ignored --nocapture
    cd adapters/risc0 && ./prepare && cargo test --release --locked --workspace --test risc0 cost -- --ignored --nocapture

# A settlement under a real proof on three Kaspa nodes, through a flip: an hour or more the first time. Needs kaspad.
risc0-settle:
    cd adapters/risc0 && ./prepare && cargo test --release --locked --workspace --test settlement -- --ignored --nocapture

# One fuzz target: envelope, coordinate, archive, log, recording, transaction, files or snapshot. Needs nightly and cargo-fuzz.
fuzz target seconds="600":
    cargo +nightly fuzz run --fuzz-dir fuzz {{target}} -- -max_total_time={{seconds}} -max_len=4096

# Every fuzz target for a short while.
fuzz-all seconds="10":
    for target in envelope coordinate archive log recording transaction files snapshot; do just fuzz $target {{seconds}} || exit 1; done

# Worlds in which everything goes wrong: seeds nobody has tried, so many.
sim seeds="1000":
    cargo reprise sim --fresh --seeds {{seeds}}

# The proof that the simulator's checkers catch deliberate bugs.
mutations:
    cargo test --release --locked --package reprise-sim --features mutations --test mutations -- --nocapture
    cargo test --release --locked --package reprise-kaspa --features mutations --test mutations -- --nocapture

# The receipt store beside an engine that is used plainly.
benchmark:
    cargo run --release --locked --manifest-path benchmark/Cargo.toml
