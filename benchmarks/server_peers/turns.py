"""A run: the peers' settings are chosen, every answer is checked, then the servers take turns."""
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import texts
from environment import REPOSITORY, make_environment
from load import LoadError, run_slice
from progress import Progress
from servers import PEERS, Server, ServerError, body, tidegate

HERE = pathlib.Path(__file__).resolve().parent
CHECKED_TEXTS = 64
CHECKED_AT_A_TIME = 16  # so that answers out of batches are checked, too
LEAST_MEAN_COSINE, LEAST_COSINE = 0.98, 0.95  # to torch f32; int8 of any of these libraries is above
FORMS = {"openvino-int8": "openvino-int8", "onnxruntime-int8": "int8.onnx"}  # in the folder of forms
WARM_SECONDS, PROBE_SECONDS = 3, 2
BUSY, ALONE = 64, 1  # connections by which a peer's setting is chosen


class Run:
    """What the steps share. Close it: the servers are processes."""

    def __init__(self, options):
        self.options = options
        self.folder = tempfile.TemporaryDirectory(prefix="server-peers-")
        self.scratch = pathlib.Path(self.folder.name)
        self.logs = pathlib.Path(options.work) / "server-logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.progress = Progress()
        self.sts = texts.StsBenchmark(options.stsb)
        self.bodies = self.scratch / "bodies.jsonl"
        sentences = sorted({*self.sts.test_sentences, *self.sts.train_sentences})
        self.bodies.write_text("".join(body(text) + "\n" for text in sentences), encoding="utf-8")
        self.sentences = len(sentences)
        self.checked = self.sts.test_sentences[:CHECKED_TEXTS]
        self.servers = {}
        self.probes = {}
        self.fidelity = {}
        self.failures = []
        self.seed = 0

    def start(self, setting):
        self.progress(f"starting {setting.name}")
        server = Server(setting, self.scratch, self.logs)
        self.servers[setting.name] = server
        server.wait_until_ready()
        return server

    def stop(self, name):
        self.servers.pop(name).stop()

    def slice(self, name, connections, seconds):
        """One slice on one server, all others stopped in their tracks."""
        self.seed += 1
        server = self.servers[name]
        server.resume()
        try:
            return run_slice(server, self.bodies, connections, seconds, self.seed)
        finally:
            server.pause()

    def fail(self, name, error):
        self.failures.append({"server": name, "reason": str(error)})
        self.progress.note(f"{name}: {error}")

    def close(self):
        for server in self.servers.values():
            server.stop()
        self.servers = {}
        self.folder.cleanup()


def make_forms(run):
    """The int8 forms that benchmarks/peers makes, made in its environment where they are missing."""
    options = run.options
    folder = pathlib.Path(options.work) / "model"
    missing = [engine for engine, file in FORMS.items() if not (folder / file).exists()]
    if not missing:
        return
    venv = pathlib.Path(options.forms_venv).resolve()
    peers = REPOSITORY / "benchmarks" / "peers"
    make_environment(venv, peers / "requirements.txt")
    calibration = run.scratch / "calibration.json"
    calibration.write_text(json.dumps(texts.calibration_texts(run.sts, texts.CALIBRATION_TEXTS)))
    for engine in missing:
        run.progress(f"the model's form for {engine} (a minute or two)")
        command = [str(venv / "bin" / "python"), str(peers / "worker.py"), engine, "--model", options.model,
                   "--work", str(folder), "--threads", str(options.threads)]
        asked = "".join(json.dumps(ask) + "\n" for ask in ({"do": "import"},
                                                          {"do": "make", "calibration": str(calibration)}))
        done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
        if '"error"' in done.stdout or done.returncode != 0:
            raise ServerError(f"no form for {engine}: {done.stdout[-500:]}{done.stderr[-500:]}")


def make_reference(run):
    run.progress("reference: torch f32")
    asked, out = run.scratch / "checked.json", run.scratch / "reference.npy"
    asked.write_text(json.dumps(run.checked))
    command = [sys.executable, str(HERE / "reference.py"), run.options.model, str(asked), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerError(f"the reference could not be computed: {done.stderr[-1000:]}")
    return np.load(out).astype(np.float64)


def check_answers(run, server, reference):
    """Cosines to the reference; answers that are not near it end the run for this server."""
    run.progress(f"checking the answers of {server.setting.name}")
    with ThreadPoolExecutor(CHECKED_AT_A_TIME) as pool:
        given = np.array(list(pool.map(server.embed, run.checked)), np.float64)
    if given.shape != reference.shape:
        raise ServerError(f"answers of the shape {given.shape} where the reference has {reference.shape}")
    cosines = (given * reference).sum(1) / (np.linalg.norm(given, axis=1) * np.linalg.norm(reference, axis=1))
    mean, least = float(cosines.mean()), float(cosines.min())
    if not (mean >= LEAST_MEAN_COSINE and least >= LEAST_COSINE):
        raise ServerError(f"wrong answers: cosine to torch f32 {mean:.4f} on average, {least:.4f} at least "
                          f"(wanted {LEAST_MEAN_COSINE} and {LEAST_COSINE}); see {server.log}")
    run.fidelity[server.setting.name] = {"mean": mean, "min": least, "texts": len(given)}


def probe(run, setting, reference):
    """One setting of a peer by itself: is it right, and how fast?"""
    try:
        server = run.start(setting)
        check_answers(run, server, reference)
        run.progress(f"trying {setting.name}")
        run.slice(setting.name, BUSY, WARM_SECONDS)
        busy = run.slice(setting.name, BUSY, PROBE_SECONDS)
        alone = run.slice(setting.name, ALONE, PROBE_SECONDS)
        return {"requests_per_second": busy["requests_per_second"], "p99_ms": busy["p99_ms"],
                "alone_p50_ms": alone["p50_ms"]}
    except (ServerError, LoadError) as error:
        run.fail(setting.name, error)
        return None
    finally:
        if setting.name in run.servers:
            run.stop(setting.name)


def choose(run, reference):
    """Of each peer the settings that are best at one of the three things the bars ask for."""
    candidates = [setting for peer in run.options.peers for setting in PEERS[peer](run.options)]
    run.progress.begin("choose", 3 * len(candidates))
    chosen = []
    for peer in run.options.peers:
        settings = [setting for setting in candidates if setting.family == peer]
        found = {setting.name: probe(run, setting, reference) for setting in settings}
        run.probes.update({name: row for name, row in found.items() if row})
        right = [setting for setting in settings if found[setting.name]]
        for measure in ("requests_per_second", "p99_ms", "alone_p50_ms"):
            sign = -1 if measure == "requests_per_second" else 1
            best = min(right, key=lambda setting: sign * found[setting.name][measure], default=None)
            if best and best not in chosen:
                chosen.append(best)
    return chosen


def open_servers(run, settings, reference):
    run.progress.begin("open", 3 * len(settings))
    for setting in settings:
        try:
            server = run.start(setting)
            check_answers(run, server, reference)
            run.progress(f"warming {setting.name}")
            run.slice(setting.name, BUSY, WARM_SECONDS)
        except (ServerError, LoadError) as error:
            run.fail(setting.name, error)
            if setting.name in run.servers:
                run.stop(setting.name)


def take_turns(run):
    """Slices of every open server at every number of connections, another server first each time."""
    options = run.options
    slices = {}
    run.progress.begin("turns", options.slices * len(options.connections) * len(run.servers))
    for turn in range(options.slices):
        for connections in options.connections:
            names = list(run.servers)
            first = turn % len(names) if names else 0
            for name in names[first:] + names[:first]:
                run.progress(f"slice {turn + 1} of {options.slices}, {connections} connections: {name}")
                try:
                    figures = run.slice(name, connections, options.seconds)
                except LoadError as error:
                    run.fail(name, error)
                    run.stop(name)
                    continue
                slices.setdefault(name, {}).setdefault(str(connections), []).append(figures)
    return {name: {connections: summary(some) for connections, some in rows.items()} for name, rows in slices.items()}


def summary(slices):
    """Medians over slices, and the lowest and highest of them."""
    def spread(key):
        values = [one[key] for one in slices]
        return {"median": statistics.median(values), "low": min(values), "high": max(values)}

    keys = ("requests_per_second", "p50_ms", "p90_ms", "p99_ms", "answer_bytes")
    return {**{key: spread(key) for key in keys}, "requests": sum(one["requests"] for one in slices), "slices": slices}


def measure(options):
    """Everything measured, as one document."""
    run = Run(options)
    try:
        run.progress.begin("prepare", 4)
        if "mosec" in options.peers:
            make_forms(run)
        reference = make_reference(run)
        settings = [tidegate(options), *choose(run, reference)]
        open_servers(run, settings, reference)
        results = take_turns(run)
        titles = {setting.name: setting.title for setting in settings}
        return {"servers": {name: {"title": titles[name], "fidelity": run.fidelity[name], "load": rows}
                            for name, rows in results.items()},
                "probes": run.probes, "failures": run.failures, "sentences": run.sentences,
                "seconds": round(time.monotonic() - run.progress.start)}
    finally:
        run.close()
