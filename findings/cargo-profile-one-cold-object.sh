#!/usr/bin/env bash
# Cargo and the linker: a package of C++ that is built without optimisation slows the optimised ones beside it.
#
# Versions:     cargo 1.95 with the crate cc 1.2 (crates.io), any clang++ or g++ with GNU ld or lld on ELF
# One guesses:  [profile.release.package.A] opt-level = 0 makes A slow and compiles it fast; package B, at opt-level = 3, is as
#               fast as ever.
# It does:      both packages include the same header. What B's compiler does not inline is a weak symbol that both objects
#               define, and the linker keeps one of them: A's, not optimised, where A comes first. B calls it.
# It matters:   proof systems ship one package of kernels a circuit over one header of field arithmetic. Saving the compile
#               time of a circuit that is never used puts its unoptimised functions under the used ones.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{src,a/src,b/src}
cat >"$work/field.h" <<'CXX'
#pragma once
#include <cstdint>
struct Field {
  uint32_t value;
  // Not inlined: as in a caller that is too large for the compiler to inline into.
  __attribute__((noinline)) Field times(Field other) const {
    uint64_t product = uint64_t(value) * other.value;
    for (int i = 0; i < 8; i++) product = product % 2013265921u + i;
    return Field{uint32_t(product % 2013265921u)};
  }
};
CXX
for crate in a b; do
  cat >"$work/$crate/Cargo.toml" <<TOML
[package]
name = "$crate"
version = "0.1.0"
edition = "2024"
links = "$crate"
[build-dependencies]
cc = "1.2"
TOML
  cat >"$work/$crate/build.rs" <<RUST
fn main() { cc::Build::new().cpp(true).file("$crate.cpp").include("..").compile("kernel_$crate"); }
RUST
  cat >"$work/$crate/$crate.cpp" <<CXX
#include "field.h"
extern "C" uint32_t run_$crate(uint32_t times) {
  Field x{7};
  for (uint32_t i = 0; i < times; i++) x = x.times(Field{i});
  return x.value;
}
CXX
  printf 'unsafe extern "C" { fn run_%s(times: u32) -> u32; }\npub fn run(times: u32) -> u32 { unsafe { run_%s(times) } }\n' \
    $crate $crate >"$work/$crate/src/lib.rs"
done
cat >"$work/src/main.rs" <<'RUST'
fn main() {
    std::hint::black_box(a::run(1));
    println!("{}", b::run(10));
}
RUST
# Which of the two definitions the program has: one that keeps its variables on the stack is not optimised.
kept() { # OPT_LEVEL of a, and of b
  cat >"$work/Cargo.toml" <<TOML
[package]
name = "finding"
version = "0.1.0"
edition = "2024"
[dependencies]
a = { path = "a" }
b = { path = "b" }
[workspace]
[profile.release.package.a]
opt-level = $1
[profile.release.package.b]
opt-level = $2
TOML
  (cd "$work" && cargo build --quiet --release)
  objdump -d --no-show-raw-insn -C "$work/target/release/finding" |
    awk '/^[0-9a-f]+ <Field::times/ { on = 1; next } on && /^$/ { exit } on' | grep -c 'mov .*(%rbp)\|mov .*(%rsp)' || true
}
slow() { [ "$(kept "$1" "$2")" -gt 4 ] && echo "not optimised" || echo optimised; }
found="a at 3, b at 3: $(slow 3 3)
a at 0, b at 3: $(slow 0 3)
a at 3, b at 0: $(slow 3 0)"
echo "the one Field::times of the program, by the opt-levels of the packages:"
echo "$found"
# Which of the two packages decides is the link order's to say; that one of them decides for both is the finding.
if [ "$(grep -c 'not optimised' <<<"$found")" != 1 ] || ! grep -q '^a at 3, b at 3: optimised' <<<"$found"; then
  echo "this has changed: it was not optimised where the package that comes first in the link is at 0"
  exit 1
fi
