#!/bin/sh
# Builds onednn_products.cpp against the system's oneDNN and against the one of the
# virtual environment, and runs both. Usage: run.sh [VENV]  (default: .venv)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=$(cd "${1:-$here/../../.venv}" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
grep -m1 'model name' /proc/cpuinfo
c++ -std=c++20 -O2 -fopenmp "$here/onednn_products.cpp" -o "$out/system" -ldnnl
c++ -std=c++20 -O2 -fopenmp -I"$venv/include" "$here/onednn_products.cpp" -o "$out/venv" \
  "$venv/lib/libdnnl.so.3" -Wl,-rpath,"$venv/lib"
"$out/system"
"$out/venv"
