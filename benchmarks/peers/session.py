"""One run: prepares models and texts, opens the engines, measures part by part, reports."""
import json
import pathlib
import sys
import tempfile
import time

import measure
import report
import texts
from artifacts import load_tokenizer, make_random_model, token_limit
from bars import judge
from children import EngineError, Launcher
from machine import describe_machine, versions
from progress import Progress

# The large model: the peers that the bar names, and its shape.
LARGE_ENGINES = ("openvino-int8", "onnxruntime-int8")
LARGE_LAYERS, LARGE_HIDDEN = 12, 768
LARGE_CALIBRATION_TEXTS = 40  # random weights: only its speed is measured


class Session:
    """What the parts of a run share."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = pathlib.Path(folder)
        self.work = pathlib.Path(options.work)
        (self.work / "logs").mkdir(parents=True, exist_ok=True)
        self.progress = Progress()
        self.launcher = Launcher(options, self.work / "logs")
        self.sts = texts.StsBenchmark(options.stsb)
        if options.quick:
            self.sts.keep_pairs(texts.QUICK_PAIRS)
        model = pathlib.Path(options.model)
        tokenizer = load_tokenizer(model)
        self.limit = token_limit(model)
        self.timed = texts.timed_sets(self.sts, tokenizer, self.limit,
                                      texts.QUICK_SIZES if options.quick else texts.FULL_SIZES)
        self.fidelity = texts.fidelity_sets(self.sts, tokenizer, self.limit)
        if options.quick:
            for name in ("long", "code"):
                self.fidelity[name] = texts.sample(self.fidelity[name], texts.QUICK_OTHERS)
        self.sizes = {name: len(some) for name, some in {**self.timed, **self.fidelity}.items()}
        self.tokens = {name: sum(len(e.ids) for e in tokenizer.encode_batch(some)) / len(some)
                       for name, some in {**self.timed, **self.fidelity}.items()}
        self.natives = [f"tidegate-{precision}" for precision in options.precisions]
        self.results = {name: {} for name in [*options.peers, *self.natives]}
        self.tokenizer = {}  # speeds of the two tokenizers
        self.failures = []
        self.children = {}

    def write(self, name, some):
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(some))
        return str(path)

    def load(self, child, name, some):
        child.ask("load", set=name, file=self.write(name, some))

    def fail(self, name, what, error):
        """One engine's trouble stops only that engine; the reason is printed and kept."""
        self.failures.append({"engine": name, "part": what, "reason": str(error)})
        self.progress.note(f"{name}, {what}: {error}")

    def each(self, what, act):
        """`act(name, child)` on every open engine; answers the names it succeeded on."""
        done = []
        for name, child in self.children.items():
            try:
                act(name, child)
                done.append(name)
            except EngineError as error:
                self.fail(name, what, error)
        return done

    def close(self):
        for child in self.children.values():
            child.close()
        self.children = {}


def make_forms(session, names, model, work, calibration_texts):
    """The peers' forms of a model, each made by a process of its own, outside every measurement."""
    calibration = session.write("calibration", texts.calibration_texts(session.sts, calibration_texts))
    usable = []
    for name in names:
        session.progress(f"the model's form for {name}")
        try:
            with session.launcher.start(name, model=model, work=work) as child:
                child.ask("import")
                child.ask("make", calibration=calibration)
            usable.append(name)
        except EngineError as error:
            session.fail(name, "export", error)
    return usable


def open_engines(session):
    options = session.options
    work = session.work / "model"
    session.progress.begin("prepare", 2 * len(options.peers) + len(session.natives))
    names = make_forms(session, options.peers, options.model, work, texts.CALIBRATION_TEXTS)
    for name in [*names, *session.natives]:
        session.progress(f"opening {name}")
        try:
            session.children[name] = session.launcher.open(name, work=work)
        except EngineError as error:
            session.fail(name, "open", error)
    wanted = {**session.timed, **session.fidelity}
    session.each("load", lambda name, child: [session.load(child, text_set, some)
                                              for text_set, some in wanted.items()])


def measure_large(session):
    """The random-weight model: the same two peers and the native int8, on texts of 128 tokens."""
    model = session.work / f"random-{LARGE_LAYERS}x{LARGE_HIDDEN}"
    session.progress(f"the random-weight model {model.name}")
    if not (model / "model.safetensors").exists():
        model.mkdir(exist_ok=True)
        make_random_model(pathlib.Path(session.options.model), model, LARGE_LAYERS, LARGE_HIDDEN)
    session.close()
    work = session.work / model.name / "forms"
    peers = make_forms(session, [name for name in LARGE_ENGINES if name in session.options.peers], model, work,
                       LARGE_CALIBRATION_TEXTS)
    natives = [name for name in session.natives if name == "tidegate-int8"]
    few = session.timed["tokens128"][:32 if session.options.quick else 64]
    for name in [*peers, *natives]:
        session.progress(f"opening {name}, {model.name}")
        try:
            session.children[name] = session.launcher.open(name, model=model, work=work)
            session.load(session.children[name], "large", few)
        except EngineError as error:
            session.fail(name, "large", error)
            session.children.pop(name, None)
    session.timed["large"] = few
    measure.throughput(session, ["large"], batches={"large": (8, 32)})


# What each part does, and about how many steps it takes with so many engines and sets.
PARTS = {
    "fidelity": (measure.fidelity, lambda engines, sets: 4 * (engines + 1)),
    "throughput": (lambda session: measure.throughput(session, session.options.sets),
                   lambda engines, sets: 5 * engines * sets),
    "latency": (measure.latency, lambda engines, sets: 9 * engines),
    "threads": (measure.thread_scaling, lambda engines, sets: 36),
    "tokenizer": (measure.tokenizer_speed, lambda engines, sets: 4),
    "start": (measure.start_and_memory, lambda engines, sets: 3 * engines),
    "large": (measure_large, lambda engines, sets: 24),
}


def run_session(options):
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        session = Session(options, folder)
        try:
            open_engines(session)
            for part, (run, steps) in PARTS.items():
                if part in options.parts:
                    session.progress.begin(part, steps(len(session.children), len(options.sets)))
                    run(session)
        finally:
            session.close()
    document = {
        "machine": describe_machine(), "versions": versions(),
        "settings": {"threads": options.threads, "seconds": options.seconds, "quick": options.quick,
                     "sets": {name: {"texts": session.sizes[name], "mean_tokens": round(session.tokens[name], 1)}
                              for name in session.sizes},
                     "calibration_texts": texts.CALIBRATION_TEXTS},
        "seconds": round(time.monotonic() - session.progress.start),
        "engines": session.results, "tokenizer": session.tokenizer, "failures": session.failures,
    }
    document["bars"] = judge(document)
    return finish(options, document)


def finish(options, document):
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    tables = report.markdown(document)
    if options.markdown:
        pathlib.Path(options.markdown).write_text(tables)
    else:
        print(tables)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for bar in document["bars"]:
        print(f"bar {bar['bar']}: {bar['verdict']}: measured {bar['measured']} (wanted {bar['wanted']})")
    return 0
