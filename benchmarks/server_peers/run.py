#!/usr/bin/env python3
"""The HTTP example server beside other embedding servers: same model, same machine, one run.

Peers: Mosec over OpenVINO or ONNX Runtime in int8, and infinity-emb over torch. Makes their virtual
environment (.venv-servers/) the first time and installs wrk from Debian where it is missing. The
int8 forms are those of benchmarks/peers (.cache/peers/, made in .venv-peers/ where they are missing).
Each peer's settings are tried first; those that are best at something are timed against ours. All
answers are compared with torch before anything is timed, and a server whose answers are wrong is not
timed. Servers listen on free loopback ports, stand still while another is timed, and are always
stopped. Build first: cmake --build build --target tidegate_http_server tidegate_module_encoder.

  benchmarks/server_peers/run.py --stsb stsb.tsv.gz --markdown servers.md --json servers.json
  benchmarks/server_peers/run.py --stsb stsb.tsv.gz --peers mosec --slices 2 --seconds 2
"""
import argparse
import json
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "peers"))

from environment import REPOSITORY, find_model, list_of, make_environment  # noqa: E402

PEERS = ("mosec", "infinity")
PACKAGES = ("mosec", "infinity-emb", "torch", "openvino", "onnxruntime", "transformers", "tokenizers", "numpy")


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--stsb", required=True, help="STS-B as a TSV (.gz) with the columns split, score, sentence1, sentence2")
    add("--model", help="sentence-transformers folder; default: the one in the peers' environment")
    add("--server", default=str(REPOSITORY / "build" / "tidegate_http_server"), help="our HTTP example")
    add("--precision", default="int8", choices=("f32", "bf16", "int8"), help="ours (default int8)")
    add("--threads", type=positive, default=len(os.sched_getaffinity(0)),
        help="threads that the model may use (default: all cores)")
    add("--connections", type=lambda text: [positive(one) for one in text.split(",")], default=[1, 8, 64],
        metavar="LIST", help="default 1,8,64; the bars need 1 and 64")
    add("--seconds", type=positive, default=4, help="length of a slice (default 4)")
    add("--slices", type=positive, default=5, help="slices of each server at each number of connections (default 5)")
    add("--peers", type=list_of(PEERS), default=list(PEERS), metavar="LIST", help="of " + ", ".join(PEERS))
    add("--json", metavar="FILE", help="write everything measured as one JSON document")
    add("--markdown", metavar="FILE", help="write the tables here; default: standard output")
    add("--work", default=str(REPOSITORY / ".cache" / "peers"), help="folder of exported models and logs")
    add("--venv", default=str(REPOSITORY / ".venv-servers"), help="the servers' virtual environment")
    add("--forms-venv", default=str(REPOSITORY / ".venv-peers"), help="the one of benchmarks/peers")
    return parser.parse_args()


def main():
    options = parse_options()
    if not os.path.exists(options.stsb):
        sys.exit(f"--stsb: there is no file {options.stsb}")
    if not os.path.exists(options.server):
        sys.exit(f"there is no {options.server}: build it (cmake --preset release && cmake --build build --target "
                 "tidegate_http_server tidegate_module_encoder) or name it with --server")
    venv = pathlib.Path(options.venv).resolve()
    make_environment(venv, HERE / "requirements.txt")
    if pathlib.Path(sys.prefix).resolve() != venv:
        python = venv / "bin" / "python"
        os.execv(python, [str(python), *sys.argv])
    options.model = options.model or find_model(venv)
    sys.exit(report(options))


def report(options):
    from load import require_wrk, wrk_version
    from machine import describe_machine, versions
    from servers import ServerError
    from tables import judge, markdown
    from turns import measure
    require_wrk()
    try:
        document = measure(options)
    except ServerError as error:
        sys.exit(f"server_peers: {error}")
    document = {"machine": describe_machine(), "versions": {**versions(PACKAGES), "wrk": wrk_version()},
                "settings": {"connections": options.connections, "seconds": options.seconds, "slices": options.slices,
                             "threads": options.threads, "precision": options.precision}, **document}
    document["bars"] = judge(document)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    if options.markdown:
        pathlib.Path(options.markdown).write_text(markdown(document))
    else:
        print(markdown(document))
    for bar in document["bars"]:
        print(f"bar {bar['bar']}: {bar['verdict']}: {bar['measured']} (wanted {bar['wanted']}; "
              f"aim {bar['aim']}: {bar['aim_verdict']})")
    return 0 if "tidegate" in document["servers"] else 1


if __name__ == "__main__":
    main()
