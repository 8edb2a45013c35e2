#!/usr/bin/env bash
# Builds `seaway` optimised for what it does most, and prints where it is: profile-guided optimisation
# (https://doc.rust-lang.org/rustc/profile-guided-optimization.html).
#
# An instrumented build serves the gateway's benchmark on loopback; what it counts tells the compiler which paths are hot.
# Takes two builds: half an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (%ds)\n' "$*" "$SECONDS" >&2; }

target=$PWD/target/pgo
triple=$(rustc -vV | sed -n 's/^host: //p')
seaway=$target/$triple/release/seaway
rm -rf "$target/profiles"

# For the target alone: neither build scripts nor the guest are profiled.
build() {
  cargo build --release --locked --package seaway --bin seaway --target "$triple" --target-dir "$target" \
    --config "target.$triple.rustflags=[\"$1\"]"
}

step "what reads profiles"
profdata=$(rustc --print sysroot)/lib/rustlib/$triple/bin/llvm-profdata
[ -x "$profdata" ] || rustup component add llvm-tools >&2

step "the instrumented build"
build "-Cprofile-generate=$target/profiles"

step "the benchmark"
SEAWAY_BIN=$seaway cargo bench --profile dev --locked --package seaway --bench gateway -- small >&2
"$profdata" merge --output "$target/seaway.profdata" "$target"/profiles/*.profraw

step "the optimised build"
build "-Cprofile-use=$target/seaway.profdata"
step "done"
echo "$seaway"
