"""The parts of a run. Engines take turns, so that a slow minute of the machine hits all of them."""
import statistics
import time

import numpy as np

import texts
from children import EngineError

SORTED_BATCHES = (8, 32, 64)
ARRIVAL_BATCHES = (1, 8, 32)
FIDELITY_BATCH = 32
REFERENCE = "torch-f32"
MOST_ROUNDS = 7
PASS_BUDGETS = 3  # a pass that takes longer than so many times the engine's time is not run whole
UNIFORM_SETS = ("tokens32", "tokens128", "large")  # one length: warm after the choice of the setting
SCALING_SETS = ("sts", "tokens128", "mixed")


# ---- fidelity ---------------------------------------------------------------------


def fidelity(session):
    """Cosine to torch f32, on STS-B's test sentences and on long, code-like and non-English texts."""
    expected = {}
    child = session.children.get(REFERENCE)
    own = child is None
    try:
        if own:
            child = session.launcher.open(REFERENCE, work=session.work / "model")
        for name, some in session.fidelity.items():
            session.progress(f"fidelity: {REFERENCE}, {name}")
            session.load(child, name, some)
            expected[name] = embeddings(session, child, name)
    except EngineError as error:
        session.fail(REFERENCE, "fidelity", error)
        return
    finally:
        if own and child:
            child.close()

    def compare(name, engine):
        for text_set, reference in expected.items():
            session.progress(f"fidelity: {name}, {text_set}")
            given = reference if name == REFERENCE else embeddings(session, engine, text_set)
            if given.shape != reference.shape:
                raise EngineError(f"answers of the shape {given.shape} where {REFERENCE} has {reference.shape}")
            row = session.results[name].setdefault("fidelity", {})
            row[text_set] = cosines(given, reference)
            if text_set == "stsb":
                row["spearman"] = spearman_of_pairs(given, session.sts.scores)

    session.each("fidelity", compare)


def embeddings(session, child, name):
    path = session.folder / "embeddings"
    child.ask("pass", **setting(child.name, sorted_set=True, batch=FIDELITY_BATCH), set=name, out=str(path))
    return np.fromfile(path, np.float32).astype(np.float64).reshape(len(session.fidelity[name]), -1)


def cosines(given, reference):
    values = (given * reference).sum(1) / (np.linalg.norm(given, axis=1) * np.linalg.norm(reference, axis=1))
    return {"mean": float(values.mean()), "p1": float(np.percentile(values, 1)), "min": float(values.min())}


def ranks(values):
    """Average ranks, ties sharing theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def spearman_of_pairs(given, scores):
    first, second = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in np.split(given, 2))
    return float(np.corrcoef(ranks((first * second).sum(1)), ranks(np.array(scores)))[0, 1])


# ---- throughput -------------------------------------------------------------------


def is_native(name):
    return name.startswith("tidegate-")


def setting(name, sorted_set, batch, lanes=1):
    """A pass's arguments; the native encoder pads nothing and so sorts nothing."""
    return {"batch": batch} if is_native(name) else {"batch": batch, "sorted": sorted_set, "lanes": lanes}


def candidates(name, sorted_set, batches, threads):
    """In groups of equal lanes. torch's many small operations hold the interpreter: no second lane helps it."""
    lanes = (1,) if is_native(name) or name.startswith("torch") or threads == 1 else (1, threads)
    return [[setting(name, sorted_set, batch, some) for batch in batches] for some in lanes]


def throughput(session, sets, batches=None):
    """Each engine's best setting per set, found on a part of the texts; then whole passes in turns."""
    quick = session.options.quick
    for text_set in sets:
        sorted_set = text_set != "arrival"
        sizes = (batches or {}).get(text_set) or (SORTED_BATCHES if sorted_set else ARRIVAL_BATCHES)
        sizes = sizes[:2] if quick else sizes
        some = session.timed[text_set]
        few = texts.sample(some, max(max(sizes), len(some) // 6))
        best = {}

        def choose(name, child):
            session.progress(f"{text_set}: the best setting of {name}")
            session.load(child, text_set + "-few", few)
            best[name] = best_setting(
                child, candidates(name, sorted_set, sizes, session.options.threads), text_set + "-few", len(few))

        session.each(text_set, choose)
        rates = rounds(session, text_set, best, len(some), 1 if quick else 2)
        for name, values in rates.items():
            chosen, probes = best[name]
            session.results[name].setdefault("throughput", {})[text_set] = {
                "texts_per_second": statistics.median(values), "low": min(values), "high": max(values),
                "rounds": values, **chosen, "probes": probes}


def best_setting(child, settings, text_set, count):
    """The fastest of the settings and what each gave: the better of two passes after one that warms up."""
    probes = []
    for group in settings:
        before = None
        for chosen in group:
            child.ask("pass", set=text_set, **chosen)
            rate = count / min(child.ask("pass", set=text_set, **chosen)["seconds"] for _ in range(2))
            probes.append({**chosen, "texts_per_second": rate})
            if before and rate < 0.7 * before:
                break  # larger batches would only be worse
            before = rate
    fastest = max(probes, key=lambda probe: probe["texts_per_second"])
    return {key: value for key, value in fastest.items() if key != "texts_per_second"}, probes


def without_slow(best, count, longest):
    """The rates to begin with, and the engines that run whole passes."""
    rates, quick_enough = {}, {}
    for name, (chosen, probes) in best.items():
        rate = max(probe["texts_per_second"] for probe in probes)
        rates[name] = [rate] if count / rate > longest else []
        if not rates[name]:
            quick_enough[name] = (chosen, probes)
    return rates, quick_enough


def turned(names, turn):
    """Another engine begins each round."""
    return names[turn % len(names):] + names[:turn % len(names)] if names else []


def rounds(session, text_set, best, count, least):
    """Texts per second of each round: at least `least`, more while the engine's time lasts.

    An engine too slow for a whole pass keeps the rate of its choice of setting as its only round.
    Texts of many lengths get one more pass first: some engines compile for each shape they meet.
    """
    budget = session.options.seconds * (0.25 if session.options.quick else 1)
    rates, best = without_slow(best, count, PASS_BUDGETS * budget)
    first = 0 if text_set in UNIFORM_SETS else -1
    spent = dict.fromkeys(best, 0.0)
    for turn in range(first, MOST_ROUNDS):
        for name in turned(list(best), turn):
            if turn >= least and spent[name] >= budget:
                continue
            session.progress(f"{text_set}: {f'round {turn + 1}' if turn >= 0 else 'warm-up'}, {name}")
            try:
                seconds = session.children[name].ask("pass", set=text_set, **best[name][0])["seconds"]
            except EngineError as error:
                session.fail(name, text_set, error)
                del best[name]
                continue
            if turn < 0:
                continue
            spent[name] += seconds
            rates[name].append(count / seconds)
    return {name: values for name, values in rates.items() if values}


# ---- one text ---------------------------------------------------------------------


def latency(session):
    """One text at a time, in three slices per engine and length, taken in turns."""
    slices = 2 if session.options.quick else 3
    seconds = session.options.seconds / (40 if session.options.quick else 10)
    for length in texts.SINGLE_LENGTHS:
        values = {name: [] for name in session.children}

        def take(name, child):
            session.progress(f"one text of {length} tokens: {name}")
            if not values[name]:
                child.ask("single", set=f"single{length}", seconds=seconds / 2)  # warm-up
            values[name].append(child.ask("single", set=f"single{length}", seconds=seconds)["latencies_ms"])

        for _ in range(slices):
            session.each(f"single{length}", take)
        for name, parts in values.items():
            if parts:
                middles = [statistics.median(part) for part in parts]
                everything = [value for part in parts for value in part]
                session.results[name].setdefault("latency", {})[str(length)] = {
                    "p50_ms": statistics.median(middles), "p99_ms": float(np.percentile(everything, 99)),
                    "p50_of_slices_ms": middles, "count": len(everything)}


# ---- the native encoder alone -----------------------------------------------------


def thread_scaling(session):
    """The native encoder on all its threads against one, on the same texts, in turns."""
    for name in session.natives:
        if name not in session.children:
            continue
        rows = {}
        try:
            with session.launcher.open(name, threads=1) as single:
                for text_set in SCALING_SETS:
                    rows[text_set] = scaling_of(session, name, single, text_set)
        except EngineError as error:
            session.fail(name, "threads", error)
        session.results[name]["threads"] = rows


def scaling_of(session, name, single, text_set):
    session.load(single, text_set, session.timed[text_set])
    child, count = session.children[name], len(session.timed[text_set])
    many, one = [], []
    for turn in range(2 if session.options.quick else 4):
        session.progress(f"threads: {name}, {text_set}, round {turn + 1}")
        one.append(count / single.ask("pass", set=text_set, batch=64)["seconds"])
        many.append(count / child.ask("pass", set=text_set, batch=64)["seconds"])
    return {"one": statistics.median(one[1:] or one), "all": statistics.median(many[1:] or many),
            "ratio": statistics.median(many[1:]) / statistics.median(one[1:])}


def tokenizer_speed(session):
    """One thread of ours against one of the library `tokenizers`, in turns."""
    rows = session.tokenizer
    native = next((session.children[name] for name in session.natives if name in session.children), None)
    if native is None:
        session.fail("tokenizer", "tokenizer", "no native encoder is open")
        return
    try:
        with session.launcher.open("tokenizers", threads=1) as library:
            for text_set in ("stsb", "long", "code", "foreign"):
                session.progress(f"tokenizer: {text_set}")
                some = session.fidelity[text_set] * (1 if text_set == "stsb" else 8)
                session.load(library, "tokenizer", some)
                session.load(native, "tokenizer", some)
                rows[text_set] = tokenizer_turns(native, library, 5 if session.options.quick else 15)
    except EngineError as error:
        session.fail("tokenizer", "tokenizer", error)


def tokenizer_turns(native, library, turns):
    answers = {}
    for _ in range(turns):
        for name, child in (("native", native), ("library", library)):
            answers.setdefault(name, []).append(child.ask("tokenize", set="tokenizer"))
    if answers["native"][0]["tokens"] != answers["library"][0]["tokens"]:
        raise EngineError("the two tokenizers do not give equally many tokens: check the models' folders")
    rows = {name: {"tokens_per_second": some[0]["tokens"] / statistics.median(one["seconds"] for one in some)}
            for name, some in answers.items()}
    return {**rows, "ratio": rows["native"]["tokens_per_second"] / rows["library"]["tokens_per_second"]}


# ---- start and memory -------------------------------------------------------------


def start_and_memory(session):
    """Fresh processes: model open to first answer, and memory beyond the bare process once warm.

    What an engine keeps between starts is there already: the session opened every model before.
    """
    names = list(session.children)
    starts = {name: [] for name in names}
    for turn in range(1 if session.options.quick else 3):
        for name in names:
            session.progress(f"start {turn + 1}: {name}")
            try:
                starts[name].append(start_once(session, name))
            except EngineError as error:
                session.fail(name, "start", error)
    for name, values in starts.items():
        if values:
            middle = {key: statistics.median(value[key] for value in values)
                      for key in ("open_to_answer_ms", "process_to_answer_ms")}
            session.results[name]["start"] = {**middle, "memory_kb": values[-1]["memory_kb"]}


def start_once(session, name):
    begin = time.perf_counter()
    with session.launcher.start(name, work=session.work / "model") as child:
        session.load(child, "one", session.timed["single12"][:1])
        bare = child.memory()
        child.ask("import")
        opening = time.perf_counter()
        child.ask("open")
        child.ask("single", set="one", seconds=0)
        end = time.perf_counter()
        warm = session.timed["mixed"][:128]
        session.load(child, "warm", warm)
        for _ in range(2):
            child.ask("pass", set="warm", **setting(name, True, 32))
            child.ask("single", set="warm", seconds=0.2)
        loaded = child.memory()
    return {"open_to_answer_ms": (end - opening) * 1e3, "process_to_answer_ms": (end - begin) * 1e3,
            "memory_kb": {"bare": bare["VmRSS"], "warm": loaded["VmRSS"], "beyond": loaded["VmRSS"] - bare["VmRSS"],
                          "anonymous": loaded["RssAnon"] - bare["RssAnon"],
                          "file": loaded["RssFile"] - bare["RssFile"]}}
