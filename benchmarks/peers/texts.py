"""The texts: five timed sets, single texts of exact lengths, and those that fidelity is read from."""
import gzip
import math
import pathlib
import random

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
SEED = 20261121
MIXED_MEAN_TOKENS = 54
MIXED_SIGMA = 0.7  # of the logarithm of the length
SINGLE_LENGTHS = (12, 32, 128)
SINGLE_TEXTS = 16
CALIBRATION_TEXTS = 960
TIMED_SETS = ("sts", "tokens32", "tokens128", "mixed", "arrival")
TITLES = {"sts": "STS sentences", "tokens32": "32 tokens", "tokens128": "128 tokens", "mixed": "mixed, sorted",
          "arrival": "mixed, arrival order"}
FULL_SIZES = {"sts": 512, "tokens32": 256, "tokens128": 96, "mixed": 512}
QUICK_SIZES = {"sts": 192, "tokens32": 96, "tokens128": 32, "mixed": 128}
QUICK_PAIRS = 300  # of STS-B, for the fidelity columns
QUICK_OTHERS = 24  # long texts, and as many pieces of code


class StsBenchmark:
    """STS-B as one tab-separated file with the columns split, score, sentence1 and sentence2."""

    def __init__(self, path):
        opener = gzip.open if str(path).endswith(".gz") else open
        with opener(path, "rt", encoding="utf-8") as file:
            rows = [line.rstrip("\n").split("\t") for line in file]
        try:
            split, score, first, second = (rows[0].index(name) for name in ("split", "score", "sentence1", "sentence2"))
        except ValueError as error:
            raise SystemExit(f"{path}: the first line must name the columns split, score, sentence1 and sentence2 "
                             f"({error}); give STS-B's TSV with --stsb") from error
        test = [row for row in rows[1:] if row[split] == "test"]
        train = [row for row in rows[1:] if row[split] == "train"]
        self.firsts, self.seconds = ([row[at] for row in test] for at in (first, second))
        self.scores = [float(row[score]) for row in test]
        self.test_sentences = _shuffled(self.firsts + self.seconds)
        self.train_sentences = _shuffled([row[at] for row in train for at in (first, second)])
        if not self.scores or not train:
            raise SystemExit(f"{path}: no rows of the splits 'test' and 'train'; give STS-B's TSV with --stsb")

    def keep_pairs(self, count):
        """Every so-manieth pair, for a quick look."""
        step = max(1, len(self.scores) // count)
        self.firsts, self.seconds, self.scores = self.firsts[::step], self.seconds[::step], self.scores[::step]


def _shuffled(texts):
    distinct = sorted(set(texts))
    random.Random(SEED).shuffle(distinct)
    return distinct


class ExactTexts:
    """Texts of exact numbers of tokens: words of real sentences in their order, ones that do not fit left out."""

    def __init__(self, sentences, tokenizer):
        self.words = []
        for encoding, word in _counted(" ".join(sentences).split(), tokenizer):
            if encoding:
                self.words.append((encoding, word))
        self.at = 0

    def take(self, tokens):
        left, words = tokens - 2, []  # [CLS] and [SEP]
        while left > 0:
            count, word = self.words[self.at % len(self.words)]
            self.at += 1
            if count <= left:
                words.append(word)
                left -= count
        return " ".join(words)


def _counted(words, tokenizer):
    encodings = tokenizer.encode_batch(words, add_special_tokens=False)
    return [(len(encoding.ids), word) for encoding, word in zip(encodings, words)]


def mixed_lengths(count, limit):
    """Log-normal lengths, shifted until their mean is MIXED_MEAN_TOKENS."""
    random_source = random.Random(SEED)
    normal = [random_source.gauss(0, 1) for _ in range(count)]
    low, high = 0.0, 8.0
    for _ in range(40):
        middle = (low + high) / 2
        lengths = [min(limit, max(4, round(math.exp(middle + MIXED_SIGMA * value)))) for value in normal]
        low, high = (middle, high) if sum(lengths) < MIXED_MEAN_TOKENS * count else (low, middle)
    return lengths


def timed_sets(sts, tokenizer, limit, sizes):
    exact = ExactTexts(sts.test_sentences, tokenizer)
    mixed = [exact.take(length) for length in mixed_lengths(sizes["mixed"], limit)]
    sets = {"sts": sts.test_sentences[:sizes["sts"]],
            "tokens32": [exact.take(32) for _ in range(sizes["tokens32"])],
            "tokens128": [exact.take(min(128, limit)) for _ in range(sizes["tokens128"])],
            "mixed": mixed, "arrival": mixed}
    for length in SINGLE_LENGTHS:
        sets[f"single{length}"] = [exact.take(length) for _ in range(SINGLE_TEXTS)]
    return sets


def code_texts(count=120, lines=6):
    """Pieces of this repository's own sources."""
    files = [path for folder in ("lib", "capi", "examples") for path in sorted((REPOSITORY / folder).rglob("*.cpp"))]
    pieces = []
    for path in files:
        code = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        pieces += ["\n".join(code[first:first + lines]) for first in range(0, len(code) - lines, 4 * lines)]
    random.Random(SEED).shuffle(pieces)
    return pieces[:count]


def long_texts(sts, tokenizer, limit, count=60):
    exact = ExactTexts(sts.test_sentences, tokenizer)
    return [exact.take(limit - 56 + index % 60) for index in range(count)]  # some are cut at the limit


def foreign_texts():
    lines = (HERE / "foreign.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def fidelity_sets(sts, tokenizer, limit):
    return {"stsb": sts.firsts + sts.seconds, "long": long_texts(sts, tokenizer, limit), "code": code_texts(),
            "foreign": foreign_texts()}


def calibration_texts(sts, count):
    """Texts of one to eight training sentences, as a careful user would calibrate with."""
    texts, at = [], 0
    for index in range(count):
        sentences = (1, 1, 2, 4, 8)[index % 5]
        texts.append(" ".join(sts.train_sentences[(at + k) % len(sts.train_sentences)] for k in range(sentences)))
        at += sentences
    return texts


def sample(texts, count):
    """Every so-manieth text, so that the lengths keep their mix."""
    if len(texts) <= count:
        return texts
    by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    chosen = {by_length[int((k + 0.5) * len(texts) / count)] for k in range(count)}
    return [text for index, text in enumerate(texts) if index in chosen]
