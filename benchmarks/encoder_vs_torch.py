#!/usr/bin/env python3
"""Texts per second of the native encoder beside torch f32, in one run.

  encoder_vs_torch.py --bench build/encoder_bench --model DIR [--stsb STSB.tsv.gz] [--json]

Text sets: STS-B test sentences (or, without the file, generated short texts) and
texts of 128 tokens. torch runs the operations of tests/encoder/torch_reference.py
with fused attention, padded to the longest text of a batch. Both are timed with
tokenizing, in three ways: one text at a time, batches of 32 in the order of
arrival, and the whole set at once, which torch sorts by length and cuts into
batches of 32, as sentence-transformers does.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time

import tokenizers
import torch
from torch.nn import functional

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "encoder"))
from torch_reference import ACTIVATIONS, Reference, read_stsb  # noqa: E402

BATCH = 32


class TorchEncoder(Reference):
    """The reference with padding, a mask and torch's fused attention."""

    def __init__(self, folder):
        super().__init__(folder)
        for layer in range(self.config["num_hidden_layers"]):
            at = f"encoder.layer.{layer}."
            for part in ("weight", "bias"):
                self.weights[at + f"qkv.{part}"] = torch.cat(
                    [self.weights[at + f"attention.self.{name}.{part}"] for name in ("query", "key", "value")])

    def run(self, ids):
        length = max(map(len, ids))
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in ids], dtype=torch.bool)
        tokens = torch.tensor([row + [0] * (length - len(row)) for row in ids])
        heads = self.config["num_attention_heads"]
        weights = self.weights
        x = (weights["embeddings.word_embeddings.weight"][tokens]
             + weights["embeddings.position_embeddings.weight"][:length]
             + weights["embeddings.token_type_embeddings.weight"][0])
        x = self.norm("embeddings.LayerNorm", x)
        activation = ACTIVATIONS[self.config["hidden_act"]]
        attended = None if bool(mask.all()) else mask[:, None, None, :]
        for layer in range(self.config["num_hidden_layers"]):
            at = f"encoder.layer.{layer}."
            qkv = self.linear(at + "qkv", x).view(*x.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
            context = functional.scaled_dot_product_attention(*qkv, attn_mask=attended)
            context = context.transpose(1, 2).reshape(x.shape)
            x = self.norm(at + "attention.output.LayerNorm", x + self.linear(at + "attention.output.dense", context))
            inner = activation(self.linear(at + "intermediate.dense", x))
            x = self.norm(at + "output.LayerNorm", x + self.linear(at + "output.dense", inner))
        column = mask[:, :, None].float()
        return functional.normalize((x * column).sum(1) / column.sum(1), p=2, dim=1)

    def run_all(self, texts, batch):
        """In batches of `batch` in the order given; None: of 32, sorted by length."""
        size = batch or BATCH
        if batch is None:
            ids = sorted((encoding.ids for encoding in self.tokenizer.encode_batch(texts)), key=len, reverse=True)
            return [self.run(ids[first:first + size]) for first in range(0, len(ids), size)]
        return [self.run([encoding.ids for encoding in self.tokenizer.encode_batch(texts[first:first + size])])
                for first in range(0, len(texts), size)]


def torch_rate(encoder, texts, threads, batch, seconds):
    torch.set_num_threads(threads)
    best = 0.0
    begin = time.perf_counter()
    with torch.inference_mode():
        encoder.run_all(texts[:2 * BATCH], batch)
        while best == 0.0 or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            encoder.run_all(texts, batch)
            best = max(best, len(texts) / (time.perf_counter() - start))
    return best


def native_rate(options, path, threads, batch):
    command = [options.bench, "--model", options.model, "--texts", path, "--threads", str(threads), "--batch",
               str(batch), "--seconds", str(options.seconds), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["texts_per_second"]


def text_sets(options, encoder):
    if options.stsb:
        short = [text for text in read_stsb(options.stsb)[0] if "\n" not in text]
    else:
        short = [f"A person number {i} walks along the river near the old bridge." for i in range(1000)]
    words = " ".join(short).split()
    long, at = [], 0
    encoder.tokenizer.no_truncation()
    while len(long) < options.long_texts:
        some, ids = [], 2
        while ids < 128 and at < len(words):
            ids += len(encoder.tokenizer.encode(words[at], add_special_tokens=False).ids)
            some.append(words[at])
            at = (at + 1) % len(words)
        long.append(" ".join(some))
    encoder.tokenizer.enable_truncation(128)
    return {"short": short, "128 tokens": long}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--stsb")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--long-texts", type=int, default=96)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    encoder = TorchEncoder(options.model)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, texts in text_sets(options, encoder).items():
            path = os.path.join(folder, "texts")
            with open(path, "w", encoding="utf-8", newline="\n") as file:
                file.write("\n".join(texts) + "\n")
            for threads in (1, 2):
                for batch in (1, BATCH, None):
                    torch_speed = torch_rate(encoder, texts, threads, batch, options.seconds)
                    speed = native_rate(options, path, threads, batch or len(texts))
                    rows.append({"texts": name, "count": len(texts), "threads": threads, "batch": batch or "all",
                                 "native": speed, "torch": torch_speed, "ratio": speed / torch_speed})
    if options.json:
        print(json.dumps({"torch": torch.__version__, "tokenizers": tokenizers.__version__,
                          "machine": platform.processor() or platform.machine(), "rows": rows}))
        return
    print(f"torch {torch.__version__}")
    for row in rows:
        print("{texts:>10} x{count}, {threads} threads, batch {batch:>3}: native {native:7.1f}/s, "
              "torch {torch:7.1f}/s, ratio {ratio:.2f}".format(**row))


if __name__ == "__main__":
    main()
