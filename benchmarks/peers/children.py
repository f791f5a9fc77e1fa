"""Child processes that hold one engine each and answer requests, one at a time."""
import json
import os
import pathlib
import select
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE_S = 900  # for one answer; on a busy machine a calibration takes minutes


class EngineError(Exception):
    """An engine refused or failed; the text says why."""


class Child:
    def __init__(self, name, command, environment):
        self.name = name
        self.pending = b""
        self.log = open(os.path.join(environment["PEERS_LOGS"], name + ".log"), "ab")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        env=environment)

    def ask(self, do, **arguments):
        try:
            self.process.stdin.write((json.dumps({"do": do, **arguments}) + "\n").encode())
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise EngineError(self._death()) from error
        answer = json.loads(self._line())
        if "error" in answer:
            raise EngineError(answer["error"])
        return answer

    def _line(self):
        while b"\n" not in self.pending:
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
            if not ready:
                self.process.kill()
                raise EngineError(f"no answer within {PATIENCE_S} s; see {self.log.name}")
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data:
                raise EngineError(self._death())
            self.pending += data
        line, _, self.pending = self.pending.partition(b"\n")
        return line

    def _death(self):
        return f"its process ended with status {self.process.wait()}; see {self.log.name}"

    def memory(self):
        """Resident kilobytes: all, private (anonymous) and of files."""
        fields = {}
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            for line in status:
                name, _, value = line.partition(":")
                if name in ("VmRSS", "RssAnon", "RssFile"):
                    fields[name] = int(value.split()[0])
        return fields

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Launcher:
    """Starts children. A name is a peer's, or "tidegate-" with a precision."""

    def __init__(self, options, logs):
        self.options = options
        self.logs = logs

    def start(self, name, model=None, work=None, threads=None):
        options = self.options
        threads = threads or options.threads
        model, work = model or options.model, work or options.work
        if name.startswith("tidegate-"):
            command = [options.server, "--model", str(model), "--precision", name.removeprefix("tidegate-"),
                       "--threads", str(threads), "--config", options.server_config]
        else:
            command = [sys.executable, str(HERE / "worker.py"), name, "--model", str(model), "--work", str(work),
                       "--threads", str(threads)]
        environment = dict(os.environ, PEERS_LOGS=str(self.logs), OMP_NUM_THREADS=str(threads),
                           RAYON_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="true", HF_HUB_OFFLINE="1")
        return Child(name, command, environment)

    def open(self, name, **arguments):
        """Started, with its model open."""
        child = self.start(name, **arguments)
        try:
            child.ask("import")
            child.ask("open")
        except EngineError:
            child.close()
            raise
        return child
