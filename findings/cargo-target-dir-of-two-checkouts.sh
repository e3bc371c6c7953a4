#!/usr/bin/env bash
# Cargo: with one target directory for two checkouts, the second one runs the program of the first.
#
# Versions:     cargo 1.95
# One guesses:  two packages at different paths are different packages: each is compiled from its own sources, whatever target
#               directory they share.
# It does:      a package of a workspace is identified by its path within the workspace. The same name and version in another
#               checkout is the same package, and it is fresh where its files are older than the build: cargo compiles nothing and
#               runs what the other checkout's sources gave. With newer files it compiles, and replaces the other's.
# It matters:   a continuous integration that keeps its target directory outside of the checkout tests the previous checkout's code
#               where the new one was unpacked with its old file times (tar, rsync -a, cp -a, a restored cache).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for checkout in first second; do
  mkdir -p "$work/$checkout/src"
  printf '[package]\nname = "which"\nversion = "0.1.0"\nedition = "2024"\n' >"$work/$checkout/Cargo.toml"
  echo "fn main() { println!(\"built from the $checkout checkout\"); }" >"$work/$checkout/src/main.rs"
done
# The second was unpacked with the times of its files.
find "$work/second" -exec touch -d '2020-01-01' {} +
run() {
  (cd "$work/$1" && CARGO_TARGET_DIR="$work/target" cargo run --quiet)
}

echo "$(cargo --version | cut -d' ' -f1,2)"
first=$(run first) && echo "the first:                  $first"
old=$(run second) && echo "the second, with old times: $old"
touch "$work/second/src/main.rs"
new=$(run second) && echo "the second, touched:        $new"
test "$first" = "built from the first checkout"
test "$old" = "built from the first checkout"
test "$new" = "built from the second checkout"

# Output seen:
# cargo 1.95.0
# the first:                  built from the first checkout
# the second, with old times: built from the first checkout
# the second, touched:        built from the second checkout
