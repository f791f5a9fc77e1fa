#!/usr/bin/env bash
# Installs what is missing, builds everything and runs all tests.
#
#   scripts/test.sh                release build, every test, the layer check
#   scripts/test.sh --sanitizers   also the ASan+UBSan and TSan builds of the suites that
#                                  matter there (engine, queue, cache, C ABI, ...)
# Fast when there is nothing to do. Exits non-zero if anything fails.
set -euo pipefail
cd "$(dirname "$0")/.."

sanitizers=no
case "${1:-}" in
  "") ;;
  --sanitizers) sanitizers=yes ;;
  -h | --help) sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
  *) echo "test.sh: unknown option '$1' (try --help)" >&2; exit 2 ;;
esac

started=$SECONDS
say() { printf '\ntest.sh: %s (%ss so far)\n' "$*" "$((SECONDS - started))"; }
mkdir -p build-logs
jobs=$(nproc)

scripts/install_deps.sh --tests
say "layer check"
scripts/check_layers

configure() { # configure PRESET
  say "configuring preset $1"
  cmake --preset "$1" >"build-logs/$1.log" 2>&1 || { cat "build-logs/$1.log"; return 1; }
}

run_tests() { # run_tests DIRECTORY [ctest arguments]
  local directory=$1
  shift
  say "testing $directory"
  ctest --test-dir "$directory" --output-on-failure -j "$jobs" "$@" | grep -vE '^ +Start |Passed +[0-9.]+ sec'
}

sanitize() { # sanitize PRESET DIRECTORY SUITE...: builds and tests these suites only
  local preset=$1 directory=$2 suite
  shift 2
  local targets=() labels=
  for suite in "$@"; do
    targets+=("test_$suite")
    labels="$labels|$suite"
  done
  configure "$preset"
  cmake --build --preset "$preset" -j "$jobs" --target "${targets[@]}"
  run_tests "$directory" -LE nosanitize -L "^(${labels#|})\$"
}

configure release
cmake --build --preset release -j "$jobs"
run_tests build
if [ $sanitizers = yes ]; then
  threaded=(base cache capi capi_internals disk engine metrics queue redis router runner)
  export UBSAN_OPTIONS=print_stacktrace=1
  sanitize asan build-asan "${threaded[@]}" encoder_kernels encoder_model packing request scaling simulator tensor
  export TSAN_OPTIONS=second_deadlock_stack=1
  sanitize tsan build-tsan "${threaded[@]}"
fi
say "all passed"
