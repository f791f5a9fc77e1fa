#!/bin/sh
# Usage: ffi_test.sh c|python|go|rust, with the settings of ffi.cmake in the environment.
# Builds one FFI example and checks what it prints and how it exits. 77 = skipped.
set -eu
language=$1
source=$SOURCE_DIR/examples/ffi/$language
work=$WORK_DIR/$language
folder=$(dirname "$LIBRARY")
mkdir -p "$work"
export LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

skip() { echo "ffi_test: skipped: $*"; exit 77; }
fail() { echo "ffi_test: $language: $*" >&2; exit 1; }
missing() { case $1 in "" | *-NOTFOUND) return 0 ;; *) test ! -x "$1" ;; esac; }

model_flag=--model
case $language in
  c) program=$EMBED_C ;;
  python)
    missing "$PYTHON" && PYTHON=$(command -v python3 || true)
    missing "$PYTHON" && skip "no Python"
    program=$work/embed
    printf '#!/bin/sh\nexec "%s" "%s/tidegate_ffi.py" --library "%s" "$@"\n' "$PYTHON" "$source" "$LIBRARY" >"$program"
    chmod +x "$program"
    ;;
  go)
    missing "$GO" && skip "no go command"
    model_flag=-model
    program=$work/embed
    (cd "$source" && CC=$CC CGO_ENABLED=1 GOFLAGS=-mod=mod GOPROXY=off GOCACHE="$work/cache" \
      CGO_CFLAGS="-I$SOURCE_DIR/capi/include" CGO_LDFLAGS="-L$folder" "$GO" build -o "$program" .) || fail "go build"
    (cd "$source" && GOFLAGS=-mod=mod GOPROXY=off GOCACHE="$work/cache" CGO_CFLAGS="-I$SOURCE_DIR/capi/include" \
      CGO_LDFLAGS="-L$folder" "$GO" vet .) || fail "go vet"
    ;;
  rust)
    missing "$CARGO" && skip "no cargo command"
    program=$work/target/release/embed
    (cd "$source" && TIDEGATE_LIB_DIR=$folder CARGO_TARGET_DIR="$work/target" \
      "$CARGO" build --release --offline --locked --quiet) || fail "cargo build"
    ;;
  *) fail "unknown language" ;;
esac

# expect STATUS ARGUMENTS...: runs the program and keeps what it prints in $work/out.
expect() {
  expected=$1
  shift
  status=0
  "$program" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  test "$status" -eq "$expected" || { cat "$work/err" >&2; fail "exit status $status, expected $expected: $*"; }
}

expect 0 "one text" "another text"
test "$(grep -c ': 8 numbers: ' "$work/out")" -eq 2 || fail "two vectors of 8 numbers expected: $(cat "$work/out")"
grep '^one text: ' "$work/out" >"$work/first"
expect 0 "one text"
grep '^one text: ' "$work/out" | cmp -s - "$work/first" || fail "the same text got another vector"
expect 2 "$model_flag" "$work/no such folder" "x"
test -s "$work/err" || fail "a missing model folder must be explained"
if [ "$language" = python ]; then
  expect 0 --cache-bytes 100000 "one text" "one text"
  expect 2 --cache-bytes 1000000000000 "one text"
  grep -q 'cache.memory.capacity_bytes' "$work/err" || fail "too large a cache must be explained: $(cat "$work/err")"
fi
if [ -n "${MODEL:-}" ]; then
  expect 0 "$model_flag" "$MODEL" "The cat sat on the mat." "A feline rested on the rug."
  test "$(grep -c ': 384 numbers: ' "$work/out")" -eq 2 || fail "two vectors of 384 numbers expected: $(cat "$work/out")"
fi
echo "ffi_test: $language: ok"
