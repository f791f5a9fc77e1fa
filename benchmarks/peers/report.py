"""The Markdown tables of a run."""
from bars import Figures, geometric_mean
from texts import SINGLE_LENGTHS, TIMED_SETS, TITLES

NAMES = {"torch": "torch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "ctranslate2": "CTranslate2",
         "tidegate": "Tidegate"}
FORMATS = {"int8": {"onnxruntime": "dynamic int8"}}


def title(name, versions=None):
    library, _, precision = name.partition("-")
    version = f" {versions[library]}" if versions and library != "tidegate" and versions.get(library) else ""
    return f"{NAMES.get(library, library)}{version} {FORMATS.get(precision, {}).get(library, precision)}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def number(value, form="{:.0f}"):
    return "-" if value is None else form.format(value)


def cosine_triple(row):
    return " / ".join(number(row[key], "{:.5f}" if key == "mean" else "{:.4f}") for key in ("mean", "p1", "min")) \
        if row else "-"


def main_table(document, figures, names):
    head = ["Engine", "cosine, mean / p1 / min", "STS-B", *(f"{TITLES[name]}/s" for name in TIMED_SETS),
            "p50 one text of " + " / ".join(map(str, SINGLE_LENGTHS)) + " tokens, ms"]
    rows = []
    for name in names:
        p50 = [number(figures.get(name, "latency", str(length), "p50_ms"), "{:.2f}") for length in SINGLE_LENGTHS]
        rows.append([title(name, document["versions"]), cosine_triple(figures.get(name, "fidelity", "stsb")),
                     number(figures.get(name, "fidelity", "spearman"), "{:.4f}"),
                     *(number(figures.rate(name, text_set)) for text_set in TIMED_SETS), " / ".join(p50)])
    return table(head, rows)


def ratio_table(figures, natives):
    """Each native precision over the fastest peer at all, and over the fastest of its own number format."""
    rows = []
    for name in natives:
        precision = name.removeprefix("tidegate-")
        groups = {"any peer": None, f"{precision} peers": [p for p in figures.peers if p.endswith("-" + precision)]}
        for label, allowed in groups.items():
            ratios = figures.ratios(name, allowed)
            values = [ratio for ratio, _ in ratios.values()]
            rows.append([title(name), label, *(f"{ratios[s][0]:.2f} ({title(ratios[s][1])})" if s in ratios else "-"
                                               for s in TIMED_SETS),
                         number(geometric_mean(values) if values else None, "{:.2f}")])
    return table(["Ours", "over the fastest of", *(TITLES[s] for s in TIMED_SETS), "geometric mean"], rows)


def fidelity_table(figures, names):
    kinds = {"long": "long", "code": "code", "foreign": "non-English"}
    return table(["Engine", *(f"{kind}, mean / p1 / min" for kind in kinds.values())],
                 [[title(name), *(cosine_triple(figures.get(name, "fidelity", key)) for key in kinds)]
                  for name in names])


def setting_table(figures, names):
    def cell(name, text_set):
        row = figures.get(name, "throughput", text_set)
        if not row:
            return "-"
        lanes = f", {row['lanes']} at a time" if row.get("lanes", 1) > 1 else ""
        return f"batch {row['batch']}{lanes}; {row['low']:.0f}-{row['high']:.0f} of {len(row['rounds'])}"

    return table(["Engine", *(TITLES[s] for s in TIMED_SETS)],
                 [[title(name), *(cell(name, s) for s in TIMED_SETS)] for name in names])


def start_table(figures, names):
    def row(name):
        start = figures.get(name, "start") or {}
        memory = start.get("memory_kb") or {}
        megabytes = [number(memory[key] * 1.024e-3 if key in memory else None)
                     for key in ("beyond", "anonymous", "file")]
        return [title(name), number(start.get("open_to_answer_ms")), number(start.get("process_to_answer_ms")),
                *megabytes, *(number(figures.get(name, "latency", str(length), "p99_ms"), "{:.2f}")
                              for length in SINGLE_LENGTHS), number(figures.rate(name, "large"), "{:.1f}")]

    return table(["Engine", "open to first answer, ms", "process to first answer, ms", "MB beyond the bare process",
                  "private", "of files", *(f"p99 {length} tokens, ms" for length in SINGLE_LENGTHS),
                  "12 x 768, 128 tokens, texts/s"], [row(name) for name in names])


def native_tables(document, figures, natives):
    rows = [[title(name), *(number((figures.get(name, "threads", s) or {}).get("ratio"), "{:.2f}")
                            for s in ("sts", "tokens128", "mixed"))] for name in natives]
    text = table(["All threads over one", "STS sentences", "128 tokens", "mixed"], rows) if rows else ""
    tokenizer = document["tokenizer"]
    if tokenizer:
        text += "\n" + table(["Tokenizer, one thread, million tokens/s", "ours", "tokenizers", "ratio"],
                             [[name, *(f"{row[side]['tokens_per_second'] / 1e6:.2f}" for side in ("native", "library")),
                               f"{row['ratio']:.1f}"] for name, row in tokenizer.items()])
    return text


def facts(document):
    machine, settings = document["machine"], document["settings"]
    sets = ", ".join(f"{TITLES.get(name, name)}: {row['texts']} texts of {row['mean_tokens']} tokens"
                     for name, row in settings["sets"].items() if not name.startswith("single"))
    return (f"{machine['cpu']} (family {machine['family']}, model {machine['model']}), {machine['cores']} cores, "
            f"{machine['memory_gib']} GiB, {machine['system']}, {' '.join(machine['flags'])}; "
            f"{settings['threads']} threads; load at the end {machine['load'][0]}; "
            f"{document['seconds']} s{', quick' if settings['quick'] else ''}.\n\n"
            f"Versions: {', '.join(f'{name} {version}' for name, version in document['versions'].items())}.\n\n"
            f"Texts: {sets}. OpenVINO int8 is calibrated on {settings['calibration_texts']} texts.\n")


def failures(document):
    lines = [f"- {row['engine']}, {row['part']}: {row['reason']}" for row in document["failures"]]
    return "\n## Not measured\n\n" + "\n".join(lines) + "\n" if lines else ""


def markdown(document):
    figures = Figures(document)
    natives = [name for name in document["engines"] if name.startswith("tidegate-")]
    names = [*figures.peers, *natives]
    bars = table(["Bar", "Wanted", "Measured", ""],
                 [[row["bar"], row["wanted"], row["measured"], row["verdict"]] for row in document["bars"]])
    return "\n".join([
        "# The native encoder beside its peers\n", facts(document),
        "## Texts per second and fidelity to torch f32\n", main_table(document, figures, names),
        "## Ratios\n", ratio_table(figures, natives),
        "## Bars\n", bars,
        "## Fidelity beyond STS-B\n", fidelity_table(figures, names),
        "## Chosen settings and spread (texts/s, lowest to highest of the rounds)\n", setting_table(figures, names),
        "## Start, memory, tail, a larger model\n", start_table(figures, names),
        native_tables(document, figures, natives), failures(document)])
