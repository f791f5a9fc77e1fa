#!/usr/bin/env python3
"""Writes lib/runner/encoder/unicode_tables.cpp.

Usage: .venv/bin/python scripts/generate_unicode_tables.py [--check]

Every fact is asked of the Hugging Face `tokenizers` package itself, one code point at
a time, because its Unicode tables are of several versions (categories of one, normal
forms of another, case of a third) and none is Python's. --check compares with the file
in the tree instead of writing it.
"""

import argparse
import pathlib
import sys
import unicodedata

import tokenizers
from tokenizers import normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)
OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "lib/runner/encoder/unicode_tables.cpp"
WIDTH = 118


def bert(**on):
    options = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    return normalizers.BertNormalizer(**{**options, **on})


def changed(normalizer):
    """Code points the normalizer changes when they stand alone, with what they become."""
    found = {}
    for c in CODE_POINTS:
        after = normalizer.normalize_str(chr(c))
        if after != chr(c):
            found[c] = [ord(x) for x in after]
    return found


def split_classes():
    """White space (dropped between words) and punctuation (a word of its own)."""
    pre = pre_tokenizers.BertPreTokenizer()
    pieces = {c: len(pre.pre_tokenize_str("a" + chr(c) + "b")) for c in CODE_POINTS}
    return [c for c, n in pieces.items() if n == 2], [c for c, n in pieces.items() if n == 3]


def combining_classes():
    """Canonical combining class of every code point, by how NFD orders it against one
    representative of each class. Only the order of the classes matters."""
    nfd = normalizers.NFD().normalize_str
    low, high = "\u0334", "\u0345"  # the lowest class, 1, and the highest, 240

    def is_starter(s):
        return nfd(s + low) == s + low and nfd(high + s) == high + s and s not in (low, high)

    representative = {}
    for c in CODE_POINTS:
        ccc = unicodedata.combining(chr(c))
        if ccc and nfd(chr(c)) == chr(c) and not is_starter(chr(c)):
            representative.setdefault(ccc, chr(c))

    classes = {}
    for c in CODE_POINTS:
        s = chr(c)
        if c in HANGUL or nfd(s) != s:
            continue
        if is_starter(s):
            continue
        ranks = [k for k, m in representative.items() if nfd(s + m) == s + m and nfd(m + s) == m + s]
        if len(ranks) != 1:
            sys.exit(f"U+{c:04X}: no single combining class")
        classes[c] = ranks[0]
    return classes


def ranges(code_points):
    out = []
    for c in sorted(code_points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def lower_ranges(lower):
    """(first, last, stride, delta): every stride-th code point maps to itself + delta."""
    out = []
    for c in sorted(lower):
        delta = lower[c][0] - c
        if out:
            first, last, stride, known = out[-1]
            if known == delta and c - last <= 2 and stride in (0, c - last):
                out[-1] = [first, c, c - last, delta]
                continue
        out.append([c, c, 0, delta])
    return [[first, last, stride or 1, delta] for first, last, stride, delta in out]


def runs(mapping):
    """Consecutive code points as: first, count, target of each."""
    out = []
    for first, last in ranges(mapping):
        out += [first, last - first + 1] + [mapping[c][0] for c in range(first, last + 1)]
    return out


def lines(items):
    text, line = [], " "
    for item in items:
        if len(line) + len(item) + 2 > WIDTH:
            text.append(line)
            line = " "
        line += " " + item + ","
    return "\n".join(text + [line])


def array(kind, name, items, why):
    return f"// {why}\nconstexpr {kind} {name}[] = {{\n{lines(items)}\n}};\n"


def braces(rows):
    return ["{" + ", ".join(hex(x) if x > 9 else str(x) for x in row) + "}" for row in rows]


def facts():
    clean = changed(bert(clean_text=True))
    removed = [c for c, after in clean.items() if not after]
    spaced = [c for c, after in clean.items() if after == [0x20]]
    assert len(removed) + len(spaced) == len(clean)
    spaces, punctuation = split_classes()
    # Cleaning turns exactly the white space that it does not remove into U+0020.
    assert set(spaced) == set(spaces) - set(removed) - {0x20}
    han = changed(bert(handle_chinese_chars=True))
    assert all(after == [0x20, c, 0x20] for c, after in han.items())

    stripped = changed(bert(strip_accents=True))
    classes = combining_classes()
    decomposed = {c: after for c, after in stripped.items() if after and c not in HANGUL}
    for c in HANGUL:
        s = c - 0xAC00
        jamo = [0x1100 + s // 588, 0x1161 + s % 588 // 28] + ([0x11A7 + s % 28] if s % 28 else [])
        assert stripped[c] == jamo
    dropped = [c for c, after in stripped.items() if not after]
    nfd = normalizers.NFD().normalize_str
    # A dropped mark of class 0 still ends a run of marks that are put in order. A
    # decomposition has no such mark after a survivor with a class, so a flag suffices.
    starters = [c for c in dropped if not classes.get(ord(nfd(chr(c))[0]))]
    for c, after in decomposed.items():
        assert not classes.get(ord(nfd(chr(c))[0])) and all(not classes.get(x) for x in after[:1]), hex(c)
        tail = [ord(x) for x in nfd(chr(c))[1:]]
        assert not (any(classes.get(x) for x in after) and any(not classes.get(x) and x not in after for x in tail))
    survivors = {c: k for c, k in classes.items() if c not in dropped}

    lower = changed(bert(lowercase=True))
    long_lower = {c: after for c, after in lower.items() if len(after) != 1}
    assert long_lower == {0x130: [0x69, 0x307]}
    del lower[0x130]
    return {
        "removed": removed, "spaces": spaces, "punctuation": punctuation, "han": han, "dropped": dropped,
        "starters": starters, "survivors": survivors, "lower": lower,
        "single": {c: a for c, a in decomposed.items() if len(a) == 1},
        "multiple": {c: a for c, a in decomposed.items() if len(a) > 1},
    }


def render(f):
    assert all(len(a) <= 3 for a in f["multiple"].values())
    classes = {}
    for c, k in f["survivors"].items():
        classes.setdefault(k, []).append(c)
    class_rows = sorted([first, last, k] for k, cs in classes.items() for first, last in ranges(cs))
    multiple = [[c] + a + [0] * (3 - len(a)) for c, a in sorted(f["multiple"].items())]
    single = [str(x) for x in runs(f["single"])]
    return "\n".join([
        "// Generated by scripts/generate_unicode_tables.py; do not edit.",
        f"// Facts of the Python package tokenizers {tokenizers.__version__}, asked for each code point.",
        "// clang-format off",
        '#include "runner/encoder/unicode_tables.hpp"',
        "",
        "namespace tidegate::unicode {",
        "namespace {",
        "",
        array("Range", "kRemoved", braces(ranges(f["removed"])), "Removed by clean_text: NUL, U+FFFD, control, format and private use."),
        array("Range", "kSpaces", braces(ranges(f["spaces"])), "White space."),
        array("Range", "kPunctuation", braces(ranges(f["punctuation"])), "Punctuation, with all of ASCII's symbols."),
        array("Range", "kHan", braces(ranges(f["han"])), "Set apart by handle_chinese_chars."),
        array("Range", "kDropped", braces(ranges(f["dropped"])), "Nothing is left after NFD and the removal of nonspacing marks."),
        array("Range", "kDroppedStarters", braces(ranges(f["starters"])), "Those of kDropped that have combining class 0."),
        array("ClassRange", "kClasses", braces(class_rows), "Combining class, where not 0, of what strip_accents keeps."),
        array("LowerRange", "kLower", ["{%#x, %#x, %d, %d}" % tuple(r) for r in lower_ranges(f["lower"])],
              "Lower case: every stride-th code point of the range plus delta."),
        array("Decomposition", "kDecompositions", braces(multiple), "Left by strip_accents where it is more than one code point."),
        array("std::uint32_t", "kDecompositionRuns", single,
              "Left by strip_accents where it is one code point: first, count, then the target of each."),
        "}  // namespace",
        "",
        "const Tables kTables{kRemoved, kSpaces,  kPunctuation, kHan,            kDropped, kDroppedStarters,",
        "                     kClasses, kLower, kDecompositions, kDecompositionRuns};",
        "",
        "}  // namespace tidegate::unicode",
        "",
    ])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the file in the tree")
    arguments = parser.parse_args()
    text = render(facts())
    if not arguments.check:
        OUTPUT.write_text(text, encoding="ascii")
    elif OUTPUT.read_text(encoding="ascii") != text:
        sys.exit(f"{OUTPUT} differs from what tokenizers {tokenizers.__version__} says: run without --check")


if __name__ == "__main__":
    main()
