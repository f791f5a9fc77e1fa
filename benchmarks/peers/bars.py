"""The bars: what was measured against what is wanted. A bar without figures says which are missing."""
import math

from texts import SINGLE_LENGTHS, TIMED_SETS

BF16_FIDELITY = 0.9999  # mean cosine from which an engine counts as one of bf16 fidelity


class Figures:
    """Look-ups in a document; None where something was not measured."""

    def __init__(self, document):
        self.engines = document["engines"]
        self.flags = document["machine"]["flags"]
        self.tokenizer = document["tokenizer"]
        self.peers = [name for name in self.engines if not name.startswith("tidegate-")]

    def get(self, name, *keys):
        value = self.engines.get(name, {})
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def rate(self, name, text_set):
        return self.get(name, "throughput", text_set, "texts_per_second")

    def best_peer(self, text_set, allowed=None):
        rates = {name: self.rate(name, text_set) for name in self.peers if allowed is None or name in allowed}
        rates = {name: rate for name, rate in rates.items() if rate}
        name = max(rates, key=rates.get, default=None)
        return name, rates.get(name)

    def ratios(self, native, allowed=None):
        """Per set: (ratio to the fastest peer allowed, its name). Sets without both figures are left out."""
        found = {}
        for text_set in TIMED_SETS:
            ours = self.rate(native, text_set)
            peer, theirs = self.best_peer(text_set, allowed)
            if ours and theirs:
                found[text_set] = (ours / theirs, peer)
        return found

    def of_fidelity(self, least):
        return [name for name in self.peers if (self.get(name, "fidelity", "stsb", "mean") or 0) >= least]


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def bar(name, wanted, measured, passed):
    """`passed` None: the figures are missing."""
    verdict = "not measured" if passed is None else "passed" if passed else "MISSED"
    return {"bar": name, "wanted": wanted, "measured": measured or "nothing", "verdict": verdict}


def judge(document):
    figures = Figures(document)
    rows = [fidelity_bar(figures), *speed_bars(figures), bf16_bar(figures), f32_bar(figures), *latency_bars(figures)]
    rows += [scaling_bar(figures, precision) for precision in ("int8", "bf16", "f32")]
    return rows + [tokenizer_bar(figures), start_bar(figures), memory_bar(figures), large_bar(figures)]


def fidelity_bar(figures):
    wanted = "STS-B mean >= .999, p1 >= .998, min >= .997; min >= .99 elsewhere; STS-B within .001 of f32"
    own = figures.get("tidegate-int8", "fidelity")
    reference = figures.get("torch-f32", "fidelity", "spearman")
    if not own or "spearman" not in own:
        return bar("int8 fidelity", wanted, "", None)
    main = own["stsb"]
    others = {name: own[name]["min"] for name in ("long", "code", "foreign")}
    passed = main["mean"] >= .999 and main["p1"] >= .998 and main["min"] >= .997 and min(others.values()) >= .99
    text = f"mean {main['mean']:.5f}, p1 {main['p1']:.4f}, min {main['min']:.4f}; "
    text += ", ".join(f"{name} min {value:.4f}" for name, value in others.items())
    text += f"; STS-B {own['spearman']:.4f}"
    if reference is None:
        return bar("int8 fidelity", wanted, text + " (no f32 beside it)", None)
    return bar("int8 fidelity", wanted, f"{text} against {reference:.4f}",
               passed and abs(own["spearman"] - reference) <= .001)


def listed(ratios):
    return ", ".join(f"{name} {ratio:.2f}x of {peer}" for name, (ratio, peer) in ratios.items())


def speed_bars(figures):
    """int8 against the fastest peer of any fidelity; other thresholds where the products run on AMX."""
    amx = "amx_int8" in figures.flags
    mean_wanted, least_wanted = (1.6, 1.4) if amx else (1.3, 1.05)
    ratios = figures.ratios("tidegate-int8")
    name = "int8 texts/s, " + ("with AMX" if amx else "without AMX")
    wanted = f"geometric mean of the five >= {mean_wanted}x, none below {least_wanted}x"
    text = listed(ratios)
    passed = None
    if len(ratios) == len(TIMED_SETS):
        mean = geometric_mean([ratio for ratio, _ in ratios.values()])
        text = f"geometric mean {mean:.2f}x; {text}"
        passed = mean >= mean_wanted and min(ratios.values())[0] >= least_wanted
    rows = [bar(name, wanted, text, passed)]
    if not amx:
        arrival = ratios.get("arrival")
        rows.append(bar("int8 texts/s in arrival order", ">= 2x", arrival and f"{arrival[0]:.2f}x of {arrival[1]}",
                        arrival and arrival[0] >= 2))
    return rows


def mean_bar(name, ratios, wanted, least):
    if not ratios:
        return bar(name, wanted, "", None)
    mean = geometric_mean([ratio for ratio, _ in ratios.values()])
    return bar(name, wanted, f"geometric mean {mean:.2f}x; {listed(ratios)}",
               mean >= least if len(ratios) == len(TIMED_SETS) else None)


def bf16_bar(figures):
    row = mean_bar("bf16 texts/s", figures.ratios("tidegate-bf16", figures.of_fidelity(BF16_FIDELITY)),
                   ">= 1.15x the best peer of mean >= .9999, at mean >= .9999", 1.15)
    own = figures.get("tidegate-bf16", "fidelity", "stsb", "mean")
    if own is not None:
        row["measured"] += f"; own mean {own:.6f}"
        if own < BF16_FIDELITY:
            row["verdict"] = "MISSED"
    return row


def f32_bar(figures):
    allowed = [name for name in figures.peers if name.endswith("-f32")]
    return mean_bar("f32 texts/s", figures.ratios("tidegate-f32", allowed), ">= 1.05x the best f32 peer", 1.05)


def latency_bars(figures):
    rows = []
    for length in map(str, SINGLE_LENGTHS):
        ours = figures.get("tidegate-int8", "latency", length, "p50_ms")
        theirs = {name: figures.get(name, "latency", length, "p50_ms") for name in figures.peers}
        theirs = {name: value for name, value in theirs.items() if value}
        best = min(theirs, key=theirs.get, default=None)
        both = ours and best
        rows.append(bar(f"one text of {length} tokens, p50, int8", "<= 0.75x the fastest peer",
                        both and f"{ours:.2f} ms, {ours / theirs[best]:.2f}x of {best}'s {theirs[best]:.2f} ms",
                        ours / theirs[best] <= .75 if both else None))
    return rows


def scaling_bar(figures, precision):
    rows = figures.get(f"tidegate-{precision}", "threads") or {}
    values = [row["ratio"] for row in rows.values()]
    return bar(f"two threads against one, {precision}", ">= 1.9x",
               ", ".join(f"{name} {row['ratio']:.2f}x" for name, row in rows.items()),
               geometric_mean(values) >= 1.9 if values else None)


def tokenizer_bar(figures):
    rows = figures.tokenizer
    return bar("tokenizer, one thread, against tokenizers", ">= 3x",
               ", ".join(f"{name} {row['ratio']:.1f}x" for name, row in rows.items()),
               rows["stsb"]["ratio"] >= 3 if "stsb" in rows else None)


def start_bar(figures):
    ours = figures.get("tidegate-int8", "start", "open_to_answer_ms")
    theirs = {name: figures.get(name, "start", "open_to_answer_ms") for name in figures.peers}
    theirs = {name: value for name, value in theirs.items() if value}
    text = f"{ours:.0f} ms" if ours else "nothing of ours"
    if theirs:
        fastest, slowest = min(theirs, key=theirs.get), max(theirs, key=theirs.get)
        text += f"; peers: {fastest} {theirs[fastest]:.0f} ms to {slowest} {theirs[slowest]:.0f} ms"
    return bar("model open to first answer, second start", "<= 150 ms", text, ours <= 150 if ours else None)


def memory_bar(figures):
    own = figures.get("tidegate-int8", "start", "memory_kb")
    if not own:
        return bar("memory beyond the bare process, int8", "<= 60 MB", "", None)
    text = (f"{own['beyond'] / 1e3 * 1.024:.0f} MB ({own['anonymous'] / 1e3 * 1.024:.0f} private, "
            f"{own['file'] / 1e3 * 1.024:.0f} of files)")
    return bar("memory beyond the bare process, int8", "<= 60 MB", text, own["beyond"] * 1024 <= 60e6)


def large_bar(figures):
    ours = figures.rate("tidegate-int8", "large")
    theirs = {name: figures.rate(name, "large") for name in ("openvino-int8", "onnxruntime-int8")}
    ratios = {name: ours / rate for name, rate in theirs.items() if ours and rate}
    return bar("12 x 768, int8, 128 tokens", ">= 1.2x OpenVINO and ONNX Runtime int8",
               ", ".join(f"{ratio:.2f}x of {name}" for name, ratio in ratios.items()),
               min(ratios.values()) >= 1.2 if len(ratios) == 2 else None)
