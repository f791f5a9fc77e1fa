"""Bars and tables of a run."""

# What is compared with the best peer of the same run: bar and aim, both as ratios of ours to theirs.
BARS = (
    ("requests/s at 64 connections", "64", "requests_per_second", 1.5, 3.0),
    ("p50 at one connection", "1", "p50_ms", 0.5, 0.15),
    ("p99 at 64 connections", "64", "p99_ms", 0.75, 0.3),
)
OURS = "tidegate"


def median(document, name, connections, key):
    row = document["servers"].get(name, {}).get("load", {}).get(connections)
    return row[key]["median"] if row else None


def judge(document):
    rows = []
    for title, connections, key, bar, aim in BARS:
        more = key == "requests_per_second"
        sign = ">=" if more else "<="
        ours = median(document, OURS, connections, key)
        peers = {name: median(document, name, connections, key) for name in document["servers"] if name != OURS}
        peers = {name: value for name, value in peers.items() if value}
        row = {"bar": title, "wanted": f"{sign} {bar}x the best peer", "aim": f"{sign} {aim}x",
               "measured": "not measured", "verdict": "not measured", "aim_verdict": "not measured"}
        if ours and peers:
            best = (max if more else min)(peers, key=peers.get)
            ratio = ours / peers[best]
            reached = [ratio >= limit if more else ratio <= limit for limit in (bar, aim)]
            row.update(measured=f"{ratio:.2f}x ({ours:.4g} beside {peers[best]:.4g}, {best})", ratio=ratio,
                       verdict="reached" if reached[0] else "missed", aim_verdict="reached" if reached[1] else "missed")
        rows.append(row)
    return rows


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def spread(row, form):
    return f"{row['median']:{form}} ({row['low']:{form}}-{row['high']:{form}})"


def load_table(document, connections):
    head = ["Server", "requests/s", "p50, ms", "p99, ms", "bytes an answer", "cosine to torch f32, mean / min"]
    rows = []
    for server in document["servers"].values():
        row = server["load"].get(connections)
        if row:
            fidelity = server["fidelity"]
            rows.append([server["title"], spread(row["requests_per_second"], ".0f"), spread(row["p50_ms"], ".2f"),
                         spread(row["p99_ms"], ".2f"), f"{row['answer_bytes']['median']:.0f}",
                         f"{fidelity['mean']:.4f} / {fidelity['min']:.4f}"])
    return table(head, rows)


def probe_table(document):
    return table(["Setting", "requests/s at 64", "p99 at 64, ms", "p50 at 1, ms"],
                 [[name, f"{row['requests_per_second']:.0f}", f"{row['p99_ms']:.1f}", f"{row['alone_p50_ms']:.2f}"]
                  for name, row in document["probes"].items()])


def markdown(document):
    machine, settings = document["machine"], document["settings"]
    parts = [
        "# The HTTP example beside other servers\n",
        f"{machine['cpu']} (family {machine['family']}, model {machine['model']}), {machine['cores']} cores, "
        f"{machine['system']}, {' '.join(machine['flags'])}; load at the end {machine['load'][0]}; "
        f"{document['seconds']} s.\n",
        f"Versions: {', '.join(f'{name} {version}' for name, version in document['versions'].items())}.\n",
        f"One random sentence of {document['sentences']} (STS-B) a request, answers as JSON numbers in OpenAI's shape, "
        f"no cache; medians of {settings['slices']} slices of {settings['seconds']} s in turns, lowest and highest in "
        "brackets.\n"]
    for connections in settings["connections"]:
        parts += [f"## {connections} connection{'s' if connections > 1 else ''}\n",
                  load_table(document, str(connections))]
    parts += ["## Bars\n", table(["Bar", "Wanted", "Measured", "", "Aim", ""],
                                 [[row["bar"], row["wanted"], row["measured"], row["verdict"], row["aim"],
                                   row["aim_verdict"]] for row in document["bars"]])]
    if document["probes"]:
        parts += ["## Settings tried\n", probe_table(document)]
    if document["failures"]:
        parts += ["## Not measured\n", "\n".join(f"- {row['server']}: {row['reason']}"
                                                 for row in document["failures"]) + "\n"]
    return "\n".join(parts)
