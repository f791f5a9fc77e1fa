"""Oracle of the tokenizer tests: what the Hugging Face `tokenizers` library answers.

Usage: tokenizer_oracle.py {code_points|random|truncation} MODEL_FOLDER OUTPUT_FOLDER

Writes tokenizer folders, corpus files and the expected ids into OUTPUT_FOLDER, and one
line a comparison into OUTPUT_FOLDER/plan.txt: tokenizer folder, largest number of
tokens, corpus file, file of expected ids. A corpus is a row of texts, each its length
in bytes (u32) and its bytes; expected ids are a count (u32) and as many i32 a text.
"""

import functools
import json
import pathlib
import random
import struct
import sys
import unicodedata

import numpy
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

SURROGATES = range(0xD800, 0xE000)
NO_LIMIT = 1 << 20


class Plan:
    def __init__(self, model, output):
        self.model = model
        self.output = output
        self.lines = []
        self.folders = {}
        self.texts = {}

    def corpus(self, name, texts):
        self.texts[name] = texts
        with open(self.output / f"{name}.corpus", "wb") as file:
            for text in texts:
                data = text.encode()
                file.write(struct.pack("<I", len(data)) + data)

    def folder(self, name, tokenizer, files):
        """`files` maps the names of the folder's files to their texts."""
        self.folders[name] = tokenizer
        (self.output / name).mkdir()
        for file, content in files.items():
            (self.output / name / file).write_text(content, encoding="utf-8")

    def json_folder(self, name, tokenizer):
        self.folder(name, tokenizer, {"tokenizer.json": tokenizer.to_str()})

    def compare(self, folder, corpus, limit=NO_LIMIT):
        tokenizer = self.folders[folder]
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if limit != NO_LIMIT:
            tokenizer.enable_truncation(limit)
        expected = f"{folder}.{corpus}.{limit}.ids"
        texts = self.texts[corpus]
        with open(self.output / expected, "wb") as file:
            for start in range(0, len(texts), 50000):
                for encoding in tokenizer.encode_batch_fast(texts[start:start + 50000]):
                    ids = encoding.ids
                    file.write(numpy.array([len(ids)] + ids, dtype="<i4").tobytes())
        self.lines.append(f"{folder} {limit} {corpus}.corpus {expected}")

    def finish(self):
        (self.output / "plan.txt").write_text("\n".join(self.lines) + "\n")


def real_tokenizer(model, **changes):
    """The model's tokenizer with other switches of its normalizer."""
    spec = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    spec["normalizer"].update(changes)
    return Tokenizer.from_str(json.dumps(spec))


@functools.cache
def letter_vocabulary():
    letters = [chr(c) for c in range(1, 0x110000)
               if c not in SURROGATES and unicodedata.category(chr(c)) != "Co"
               and (unicodedata.category(chr(c)) != "Cn" or c % 61 == 0)
               and not (0x4E00 <= c < 0x9F00 or 0x20000 <= c < 0x31400) or c in (0x4E00, 0x20000)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + letters + ["##" + letter for letter in letters]
    return {t: i for i, t in enumerate(tokens)}


def letter_tokenizer(**changes):
    """A vocabulary of single code points, so that ids tell the normalized text."""
    tokenizer = Tokenizer(models.WordPiece(letter_vocabulary(), unk_token="[UNK]", max_input_chars_per_word=1000))
    tokenizer.normalizer = normalizers.BertNormalizer(**changes)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer


def vocab_tokenizer(model, lowercase, strip_accents, chinese):
    """What vocab.txt and tokenizer_config.json describe."""
    wordpiece = models.WordPiece.from_file(str(model / "vocab.txt"), unk_token="[UNK]")
    tokenizer = Tokenizer(wordpiece)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese, strip_accents=strip_accents, lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[UNK]", "[SEP]", "[CLS]", "[PAD]", "[MASK]"])
    ids = {t: tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=list(ids.items()))
    return tokenizer


def switches():
    """Every setting of the normalizer, with a name."""
    for lowercase in (True, False):
        for strip in (None, True, False):
            for chinese in (True, False):
                for clean in (True, False):
                    name = f"lower{lowercase:d}_strip{'x' if strip is None else int(strip)}_han{chinese:d}_clean{clean:d}"
                    yield name, {"lowercase": lowercase, "strip_accents": strip, "handle_chinese_chars": chinese,
                                 "clean_text": clean}


def code_points(plan):
    letters = [chr(c) for c in range(0x110000) if c not in SURROGATES]
    plan.corpus("alone", letters)
    plan.corpus("inside", ["a" + c + "b" for c in letters])
    plan.json_folder("model", real_tokenizer(plan.model))
    plan.compare("model", "alone")
    plan.compare("model", "inside")

    # Under every setting, with 128 code points a text: spaces keep them apart.
    plan.corpus("alone_joined", [" ".join(letters[i:i + 128]) for i in range(0, len(letters), 128)])
    plan.corpus("inside_joined", [" ".join("A" + c + "b" for c in letters[i:i + 128])
                                  for i in range(0, len(letters), 128)])
    for lowercase, strip, clean in ((True, True, True), (False, True, False), (True, False, False),
                                    (False, False, True)):
        name = f"letters_{lowercase:d}{strip:d}{clean:d}"
        plan.json_folder(name, letter_tokenizer(lowercase=lowercase, strip_accents=strip, clean_text=clean,
                                                handle_chinese_chars=clean))
        plan.compare(name, "alone_joined")
        plan.compare(name, "inside_joined")


class Writer:
    """Random texts; the same seed writes the same texts."""

    BLOCKS = [(0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x36F), (0x370, 0x52F), (0x530, 0x6FF), (0x900, 0xDFF),
              (0xE00, 0x11FF), (0x1B00, 0x1CFF), (0x1D00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x2BFF),
              (0x2C00, 0x2E7F), (0x2E80, 0x33FF), (0x3400, 0x4DFF), (0x4E00, 0x9FFF), (0xA000, 0xABFF),
              (0xAC00, 0xD7A3), (0xF900, 0xFFFD), (0x10000, 0x11FFF), (0x16F00, 0x1D7FF), (0x1E000, 0x1E9FF),
              (0x1F000, 0x1FAFF), (0x20000, 0x2FA1F), (0xE0000, 0xE01FF)]
    SPECIALS = ["[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "[cls]", "[MASK", "MASK]", "[[SEP]]", "[unused1]",
                " [MASK] ", "[CLS][SEP]", "[UN[UNK]K]"]
    SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\u000b", "\u200b"]
    ODD = ["\0", "\ufffd", "\ufeff", "\u200d", "\u00ad", "\u0301", "\u0345", "\u034f", "\u302e", "\u302f", "\u1dfb",
           "\U0001d165", "\U0001d16d", "\U0001d15e", "\U0001e000", "\u08d4", "\u0344", "\u0f73", "\u0fb0", "\u1bf2",
           "\u0130", "\u0131", "\u1e9e", "\u00df", "\u03a3", "\u03c2", "\u212a", "\u2126", "\u037e", "\u1fef",
           "\ufb01", "\uf900", "\U0002f800", "\ud7a3", "\uac00", "\ue000", "\U0010ffff", "\u0378", "\x7f", "\x01"]

    def __init__(self, seed, vocabulary):
        self.random = random.Random(seed)
        self.words = sorted(w for w in vocabulary if w.isascii() and w.isalpha())
        self.pieces = sorted(w.removeprefix("##") for w in vocabulary)

    def letter(self, block):
        while True:
            c = self.random.randint(*block)
            if c not in SURROGATES:
                return chr(c)

    def word(self):
        pick = self.random.random()
        if pick < 0.3:
            return self.random.choice([str.lower, str.upper, str.title])(self.random.choice(self.words))
        if pick < 0.5:
            return "".join(self.random.choice(self.pieces) for _ in range(self.random.randint(1, 4)))
        if pick < 0.6:
            return self.random.choice(self.SPECIALS)
        if pick < 0.7:
            return "".join(self.random.choice(self.ODD) for _ in range(self.random.randint(1, 8)))
        if pick < 0.72:
            unit = self.random.choice(["a", "e\u0301", "\u00e9", "\U0001f600", "ab", "\u0937", "\uac01"])
            return unit * self.random.choice([33, 49, 50, 51, 98, 99, 100, 101, 102, 300])
        block = self.random.choice(self.BLOCKS)
        return "".join(self.letter(block) for _ in range(self.random.randint(1, 8)))

    def text(self):
        words = [self.word() for _ in range(self.random.randint(0, 12))]
        if self.random.random() < 0.2:
            return "".join(words)
        if self.random.random() < 0.2:  # odd ones between all letters
            return "".join(x + (self.random.choice(self.ODD) if self.random.random() < 0.3 else "")
                           for x in " ".join(words))
        return "".join(word + self.random.choice(self.SPACES + [" "] * 12 + list(".,-'")) for word in words)


def added_token_folders(plan):
    """Added tokens of every kind that a BERT file can hold."""
    tokenizer = real_tokenizer(plan.model)
    tokenizer.add_tokens([AddedToken("New York", normalized=True), AddedToken("\u00c9T\u00c9", normalized=True),
                          AddedToken("new", normalized=True, lstrip=True, rstrip=True),
                          AddedToken("ing", normalized=False), AddedToken("\u4e2d", normalized=True)])
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True, rstrip=True, normalized=False),
                                  AddedToken("<x>", rstrip=True, normalized=False)])
    plan.json_folder("added", tokenizer)
    tokenizer = real_tokenizer(plan.model, lowercase=False, clean_text=False)
    tokenizer.add_tokens([AddedToken("the", normalized=True, lstrip=True), AddedToken("a", normalized=True)])
    plan.json_folder("added_cased", tokenizer)


def vocab_folders(plan):
    vocab = (plan.model / "vocab.txt").read_text(encoding="utf-8")
    for lowercase, strip, chinese in ((True, None, True), (False, None, True), (True, False, False), (False, True, True)):
        name = f"vocab_{lowercase:d}{'x' if strip is None else int(strip)}{chinese:d}"
        config = {"do_lower_case": lowercase, "strip_accents": strip, "tokenize_chinese_chars": chinese}
        plan.folder(name, vocab_tokenizer(plan.model, lowercase, strip, chinese),
                    {"vocab.txt": vocab, "tokenizer_config.json": json.dumps(config)})
    plan.folder("vocab_alone", vocab_tokenizer(plan.model, True, None, True), {"vocab.txt": vocab.replace("\n", "\r\n")})


def random_texts(plan):
    writer = Writer(20240917, real_tokenizer(plan.model).get_vocab())
    plan.corpus("random", [writer.text() for _ in range(24000)])
    plan.json_folder("model", real_tokenizer(plan.model))
    plan.compare("model", "random")
    plan.json_folder("letters", letter_tokenizer(lowercase=False, strip_accents=True))
    plan.compare("letters", "random")
    for index, (name, changes) in enumerate(switches()):
        plan.corpus(f"random{index}", plan.texts["random"][index * 1000:(index + 1) * 1000] +
                    [writer.text() for _ in range(1000)])
        plan.json_folder(name, real_tokenizer(plan.model, **changes))
        plan.compare(name, f"random{index}")
        if changes["strip_accents"] is not None and changes["clean_text"] == changes["handle_chinese_chars"]:
            plan.json_folder("letters_" + name, letter_tokenizer(**changes))
            plan.compare("letters_" + name, f"random{index}")
    added_token_folders(plan)
    plan.corpus("added", [" ".join(writer.random.choice(
        ["New York", "new  york", "\u00e9t\u00e9", "e\u0301te", "ETE", "news", "ing", "King", "\u4e2d\u6587", "[MASK]",
         "<x>", "  <x>  ", "the", "a", "The", "\u3000[MASK]\u2003", writer.word(), ""])
        for _ in range(writer.random.randint(0, 8))) for _ in range(6000)])
    vocab_folders(plan)
    for name in ("added", "added_cased"):
        plan.compare(name, "added")
        plan.compare(name, "random0")
    for name in [n for n in plan.folders if n.startswith("vocab_")]:
        plan.compare(name, "random1")


def truncation(plan):
    writer = Writer(7, real_tokenizer(plan.model).get_vocab())
    plan.corpus("texts", [writer.text() for _ in range(2000)])
    plan.corpus("huge", ["a" * 1000000, "\u0301" * 300000, "\u302e\U0001d165" * 100000, "a " * 400000, "[" * 500000,
                         "[MASK]" * 100000, "\u4e2d" * 300000, "\0" * 100000, "." * 300000, " " * 100000 + "end",
                         "unbelievable " * 50000, "\uac01" * 100000])
    plan.json_folder("model", real_tokenizer(plan.model))
    for limit in (3, 4, 5, 8, 17, 64, 256, 512):
        plan.compare("model", "texts", limit)
    for limit in (256, NO_LIMIT):
        plan.compare("model", "huge", limit)


def main():
    stage, model, output = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    plan = Plan(model, output)
    {"code_points": code_points, "random": random_texts, "truncation": truncation}[stage](plan)
    plan.finish()


if __name__ == "__main__":
    main()
