"""Load from wrk: one slice on one server."""
import json
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


class LoadError(Exception):
    """wrk failed, or requests did."""


def require_wrk():
    """Installs Debian's wrk where that can be done, or ends with what to do."""
    if shutil.which("wrk"):
        return
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "wrk"]
    if shutil.which("apt-get"):
        print("server_peers: installing wrk (apt-get install wrk)", file=sys.stderr)
        rights = [] if not shutil.which("sudo") else ["sudo", "-n"]
        subprocess.run([*rights, *install], capture_output=True, check=False)
    if not shutil.which("wrk"):
        sys.exit("there is no wrk: install it (apt-get install wrk, as root) and run again")


def wrk_version():
    """wrk prints its version with its usage, and ends with status 1."""
    text = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"wrk (\S+)", text)
    return found.group(1) if found else "unknown"


def run_slice(server, bodies, connections, seconds, seed):
    """One slice's figures; a failed request fails the slice."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", str(HERE / "requests.lua"),
               server.url, "--", str(bodies), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    found = re.search(r"^measured (.*)$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or not found:
        raise LoadError(f"{' '.join(command)} gave no figures: {(done.stderr or done.stdout)[-500:]}")
    figures = json.loads(found.group(1))
    if any(figures["failed"].values()):
        raise LoadError(f"{server.setting.name}, {connections} connections: failed requests: {figures['failed']}; "
                        f"see {server.log}")
    if figures["requests"] == 0:
        raise LoadError(f"{server.setting.name}, {connections} connections: no answer within {seconds} s")
    return {**figures, "requests_per_second": figures["requests"] / figures["seconds"],
            "answer_bytes": figures["bytes"] / figures["requests"]}
