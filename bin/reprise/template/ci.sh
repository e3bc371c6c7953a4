#!/usr/bin/env bash
# What every change must pass.
set -euo pipefail
cd "$(dirname "$0")"

cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
cargo test --workspace

# The recorded chain, through the program itself: it exits with 1 where an invariant is broken.
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
cargo run -- run --l1 recording:recordings/flip.reprise --data-dir "$data"

# Worlds that nobody has tried.
cargo run -- sim --fresh --seeds 20
