#!/usr/bin/env python3
"""The native encoder beside its peers: same model, same texts, same cores, one run.

Makes the peers' own virtual environment (.venv-peers/) the first time, exports the model
into every peer's form (kept in .cache/peers/), then times all of them in turns, tokenizing
included, and prints tables with the bars of the project. What is running is shown on
standard error. Build first: cmake --build build --target encoder_server.

  benchmarks/peers/run.py --stsb stsb.tsv.gz --markdown peers.md --json peers.json
  benchmarks/peers/run.py --stsb stsb.tsv.gz --quick --peers openvino-int8,onnxruntime-int8
"""
import argparse
import os
import pathlib
import sys

from environment import MODEL_PACKAGE, REPOSITORY, find_model, list_of, make_environment

HERE = pathlib.Path(__file__).resolve().parent
PEERS = ("torch-f32", "torch-bf16", "onnxruntime-f32", "onnxruntime-int8", "openvino-f32", "openvino-bf16",
         "openvino-int8", "ctranslate2-int8")
PRECISIONS = ("f32", "bf16", "int8")
SETS = ("sts", "tokens32", "tokens128", "mixed", "arrival")
PARTS = ("fidelity", "throughput", "latency", "threads", "tokenizer", "start", "large")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--stsb", required=True, help="STS-B as a TSV (.gz) with the columns split, score, sentence1, sentence2")
    add("--model", help=f"sentence-transformers folder; default: the one in the package {MODEL_PACKAGE}")
    add("--server", default=str(REPOSITORY / "build" / "encoder_server"), help="the native encoder's program")
    add("--server-config", default="{}", help="more keys of the native model's configuration, as JSON")
    add("--threads", type=int, default=2, help="threads each engine may use (default 2)")
    add("--seconds", type=float, default=4.0, help="time for one engine on one set (default 4)")
    add("--quick", action="store_true", help="fewer texts and rounds: under three minutes, rougher figures")
    add("--peers", type=list_of(PEERS), default=list(PEERS), metavar="LIST", help="of " + ", ".join(PEERS))
    add("--precisions", type=list_of(PRECISIONS), default=list(PRECISIONS), metavar="LIST",
        help="the native encoder's: of " + ", ".join(PRECISIONS))
    add("--sets", type=list_of(SETS), default=list(SETS), metavar="LIST", help="of " + ", ".join(SETS))
    add("--parts", type=list_of(PARTS), default=list(PARTS), metavar="LIST", help="of " + ", ".join(PARTS))
    add("--json", metavar="FILE", help="write everything measured as one JSON document")
    add("--markdown", metavar="FILE", help="write the tables here; default: standard output")
    add("--work", default=str(REPOSITORY / ".cache" / "peers"), help="folder for exported models")
    add("--venv", default=str(REPOSITORY / ".venv-peers"), help="the peers' virtual environment")
    return parser.parse_args()


def main():
    options = parse_options()
    if not os.path.exists(options.stsb):
        sys.exit(f"--stsb: there is no file {options.stsb}")
    if options.precisions and not os.path.exists(options.server):
        sys.exit(f"there is no {options.server}: build it (cmake --preset release && "
                 "cmake --build build --target encoder_server) or name it with --server")
    venv = pathlib.Path(options.venv).resolve()
    python = venv / "bin" / "python"
    make_environment(venv, HERE / "requirements.txt")
    if pathlib.Path(sys.prefix).resolve() != venv:
        os.execv(python, [str(python), *sys.argv])
    options.model = options.model or find_model(venv)
    from session import run_session
    sys.exit(run_session(options))


if __name__ == "__main__":
    main()
