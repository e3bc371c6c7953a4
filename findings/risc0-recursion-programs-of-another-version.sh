#!/usr/bin/env bash
# RISC Zero: the recursion programs of one version of a crate are published by two crates of another, later version.
#
# Versions:     risc0-circuit-recursion 4.0.4 and 4.0.6-rc.1; risc0-circuit-recursion-zkrs and
#               risc0-circuit-recursion-control-zkrs 4.0.6-rc.1 (crates.io)
# One guesses:  4.0.4 needs programs of its own version, and they are to be had only where its build script downloads them,
#               outside crates.io; another version has other circuits, and so other programs with other control ids.
# It does:      what decides whether a program fits (control ids, taps, the circuit's polynomials) is the same in both
#               versions, byte for byte, and the later one publishes every program as a crate.
# It matters:   succinct receipts for a verifier pinned to 4.0.4 can be made from crates.io alone.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fetch() { # NAME VERSION: the directory of its sources
  mkdir -p "$work/fetch-$1/$2/src" && touch "$work/fetch-$1/$2/src/lib.rs"
  printf '[package]\nname = "finding"\nedition = "2024"\n[dependencies]\n%s = { version = "=%s", default-features = false }\n[workspace]\n' \
    "$1" "$2" >"$work/fetch-$1/$2/Cargo.toml"
  cargo metadata --quiet --format-version 1 --manifest-path "$work/fetch-$1/$2/Cargo.toml" |
    grep -o "\"manifest_path\":\"[^\"]*/$1-$2/Cargo.toml\"" | head -n 1 | cut -d'"' -f4 | xargs dirname
}

changed=0
check() { # WHAT FOUND EXPECTED
  echo "$1: $2"
  [ "$2" = "$3" ] || { echo "  this has changed; it was: $3"; changed=1; }
}

old=$(fetch risc0-circuit-recursion 4.0.4) new=$(fetch risc0-circuit-recursion 4.0.6-rc.1)
for file in control_id.rs taps.rs poly_ext.rs info.rs layout.rs; do
  check "$file of 4.0.4 and 4.0.6-rc.1" "$(cmp -s "$old/src/$file" "$new/src/$file" && echo same || echo different)" same
done
check "4.0.4's build script fetches from outside crates.io" \
  "$(grep -q 'downloader' "$old/Cargo.toml" && echo yes || echo no)" yes
lifts=$(fetch risc0-circuit-recursion-zkrs 4.0.6-rc.1) control=$(fetch risc0-circuit-recursion-control-zkrs 4.0.6-rc.1)
check "programs in the two crates" \
  "$({ tar tJf "$lifts/src/zkrs.tar.xz"; tar tJf "$control/src/zkrs.tar.xz"; } | grep -vc -e povw -e test_)" 15
exit $changed
