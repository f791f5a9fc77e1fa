"""The servers: how each is started, asked and stopped."""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
MODEL_NAME = "minilm"  # as all of them are told, so that requests and answers are alike
PATH = "/v1/embeddings"
START_SECONDS = 180
STOP_SECONDS = 10


class ServerError(Exception):
    """A server did not start or gave a wrong answer; the text says which and why."""


@dataclass(frozen=True)
class Setting:
    """One way to run one server; `name` is unique in a run."""
    name: str
    title: str
    family: str
    command: tuple  # {port} and {scratch} are filled in
    threads: int  # of one process


def tidegate(options):
    command = (options.server, "--model", options.model, "--name", MODEL_NAME, "--precision", options.precision,
               "--threads", str(options.threads), "--cache-bytes", "0", "--port", "{port}")
    return Setting("tidegate", f"Tidegate {options.precision}", "tidegate", command, options.threads)


def mosec_settings(options):
    """One process with all threads, or a process a core; batches of up to so many, or none at all.

    A batch that is not full waits 1 ms for more, the shortest that Mosec takes.
    """
    layouts = [(1, options.threads)] + ([(options.threads, 1)] if options.threads > 1 else [])
    wanted = [("openvino-int8", layout, batch) for layout in layouts for batch in (1, 8, 32)]
    wanted += [("onnxruntime-int8", layouts[-1], batch) for batch in (1, 8)]
    for engine, (processes, threads), batch in wanted:
        name = f"mosec-{engine}-{processes}x{threads}-batch{batch}"
        command = (sys.executable, str(HERE / "mosec_app.py"), "--engine", engine, "--model", options.model,
                   "--work", str(pathlib.Path(options.work) / "model"), "--processes", str(processes),
                   "--threads", str(threads), "--batch", str(batch), "--wait-ms", "1",
                   "--address", "127.0.0.1", "--port", "{port}", "--path", "{scratch}/" + name)
        title = f"Mosec, {engine}, {processes} x {threads} threads, batches of {batch}"
        yield Setting(name, title, "mosec", command, threads)


def infinity_settings(options):
    for dtype in ("float32", "bfloat16"):
        command = (str(pathlib.Path(sys.executable).parent / "infinity_emb"), "v2", "--model-id", options.model,
                   "--served-model-name", MODEL_NAME, "--engine", "torch", "--device", "cpu", "--dtype", dtype,
                   "--no-bettertransformer", "--no-compile", "--host", "127.0.0.1", "--port", "{port}",
                   "--url-prefix", "/v1", "--log-level", "error")
        yield Setting(f"infinity-{dtype}", f"infinity-emb, torch {dtype}", "infinity", command, options.threads)


PEERS = {"mosec": mosec_settings, "infinity": infinity_settings}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """One running server on a loopback port of its own. Stopped processes take no time from the one that is timed."""

    def __init__(self, setting, scratch, logs):
        self.setting = setting
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{PATH}"
        self.log = logs / f"{setting.name}.log"
        command = [part.format(port=self.port, scratch=scratch) for part in setting.command]
        environment = dict(os.environ, OMP_NUM_THREADS=str(setting.threads), RAYON_NUM_THREADS=str(setting.threads),
                           TOKENIZERS_PARALLELISM="true" if setting.threads > 1 else "false",
                           HF_HUB_OFFLINE="1", DO_NOT_TRACK="1", INFINITY_ANONYMOUS_USAGE_STATS="0")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=environment, start_new_session=True)

    def wait_until_ready(self):
        limit = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None:
                raise ServerError(f"{self.setting.name} ended with status {self.process.returncode}; see {self.log}")
            try:
                self.embed("Is anybody there?")
                return
            except (OSError, http.client.HTTPException, ServerError) as error:
                if time.monotonic() > limit:
                    raise ServerError(f"{self.setting.name} does not answer within {START_SECONDS} s ({error}); "
                                      f"see {self.log}") from error
            time.sleep(0.1)

    def embed(self, text):
        """The vector of one text, from an answer in OpenAI's shape."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", PATH, body(text), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise ServerError(f"{self.setting.name} answers {answer.status}: {content[:300].decode(errors='replace')}")
        try:
            data = json.loads(content)["data"]
            return data[0]["embedding"]
        except (ValueError, LookupError, TypeError) as error:
            raise ServerError(f"{self.setting.name}: the answer is not in OpenAI's shape: {content[:300]}") from error

    def _signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def pause(self):
        self._signal(signal.SIGSTOP)

    def resume(self):
        self._signal(signal.SIGCONT)

    def stop(self):
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        self._signal(signal.SIGKILL)  # what the first process may have left of its group
        self.process.wait()


def body(text):
    return json.dumps({"model": MODEL_NAME, "input": text})
