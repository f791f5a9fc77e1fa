#!/usr/bin/env python3
"""The text encoder once more, in plain torch operations, as the oracle of its tests.

  torch_reference.py texts STSB.tsv.gz OUT          the test split's sentences, one a line
  torch_reference.py compare JOBS.json
      JOBS is a list of {"model": folder, "texts": file, "embeddings": [files],
      "prompt": text, "stsb": file}, the last two optional. A file of embeddings holds
      f32 rows, one a line of the texts. Prints a list with one object for each file:
      the smallest cosine, the largest difference relative to the largest number (or
      to one, if that is smaller) and, for STS-B, Spearman's coefficient of the
      given embeddings' cosines with the gold scores.
"""
import argparse
import gzip
import json
import math
import os

import numpy as np
import tokenizers
import torch
from torch.nn import functional


def read_json(*parts):
    path = os.path.join(*parts)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def read_safetensors(path):
    """Tensors by name, widened to f32."""
    with open(path, "rb") as file:
        data = file.read()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        raw = data[begin:end]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] in ("F32", "F16"):
            values = np.frombuffer(raw, np.float32 if entry["dtype"] == "F32" else np.float16).astype(np.float32)
        else:
            continue
        tensors[name] = torch.from_numpy(values.reshape(entry["shape"]).copy())
    return tensors


ACTIVATIONS = {
    "gelu": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
    "Identity": lambda x: x,
    "Tanh": torch.tanh,
    "ReLU": functional.relu,
    "GELU": functional.gelu,
}


class Reference:
    def __init__(self, folder):
        self.folder = folder
        self.config = read_json(folder, "config.json")
        tensors = read_safetensors(os.path.join(folder, "model.safetensors"))
        self.weights = {name.removeprefix("bert."): value for name, value in tensors.items()}
        self.modules = read_json(folder, "modules.json") or [
            {"path": "", "type": "Transformer"}, {"path": None, "type": "Pooling"}]
        limits = [self.config["max_position_embeddings"]]
        limits.append((read_json(folder, "sentence_bert_config.json") or {}).get("max_seq_length"))
        limits.append((read_json(folder, "tokenizer_config.json") or {}).get("model_max_length"))
        self.tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(int(min(limit for limit in limits if limit)))

    def linear(self, name, x):
        return functional.linear(x, self.weights[name + ".weight"], self.weights[name + ".bias"])

    def norm(self, name, x):
        return functional.layer_norm(x, x.shape[-1:], self.weights[name + ".weight"], self.weights[name + ".bias"],
                                     self.config["layer_norm_eps"])

    def tokens(self, ids):
        """[texts, length] ids of equal lengths to [texts, length, hidden]."""
        texts, length = ids.shape
        heads = self.config["num_attention_heads"]
        weights = self.weights
        x = (weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][:length]
             + weights["embeddings.token_type_embeddings.weight"][0])
        x = self.norm("embeddings.LayerNorm", x)
        activation = ACTIVATIONS[self.config["hidden_act"]]
        for layer in range(self.config["num_hidden_layers"]):
            at = f"encoder.layer.{layer}."
            query, key, value = (
                self.linear(at + "attention.self." + part, x).view(texts, length, heads, -1).transpose(1, 2)
                for part in ("query", "key", "value"))
            scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
            context = (scores.softmax(-1) @ value).transpose(1, 2).reshape(x.shape)
            x = self.norm(at + "attention.output.LayerNorm", x + self.linear(at + "attention.output.dense", context))
            inner = activation(self.linear(at + "intermediate.dense", x))
            x = self.norm(at + "output.LayerNorm", x + self.linear(at + "output.dense", inner))
        return x

    def pool(self, path, x, prompt_tokens):
        config = {"pooling_mode_mean_tokens": True} if path is None else read_json(self.folder, path, "config.json")
        length = x.shape[1]
        mask = torch.ones(length)
        if not config.get("include_prompt", True):
            mask[:prompt_tokens] = 0
        column = mask[None, :, None]
        parts = []
        if config.get("pooling_mode_cls_token"):
            parts.append(x[:, 0])
        if config.get("pooling_mode_max_tokens"):
            parts.append(x.masked_fill(column == 0, -1e9).max(1).values)
        total = mask.sum().clamp(min=1e-9)
        if config.get("pooling_mode_mean_tokens"):
            parts.append((x * column).sum(1) / total)
        if config.get("pooling_mode_mean_sqrt_len_tokens"):
            parts.append((x * column).sum(1) / total.sqrt())
        if config.get("pooling_mode_weightedmean_tokens"):
            weights = column * torch.arange(1, length + 1)[None, :, None]
            parts.append((x * weights).sum(1) / weights.sum().clamp(min=1e-9))
        if config.get("pooling_mode_lasttoken"):
            parts.append(x[:, -1])
        return torch.cat(parts, 1)

    def dense(self, path, x):
        config = read_json(self.folder, path, "config.json")
        tensors = read_safetensors(os.path.join(self.folder, path, "model.safetensors"))
        activation = ACTIVATIONS[config["activation_function"].rsplit(".", 1)[-1]]
        return activation(functional.linear(x, tensors["linear.weight"], tensors.get("linear.bias")))

    def encode(self, texts, prompt=""):
        ids = [self.tokenizer.encode(prompt + text).ids for text in texts]
        # [CLS] and the prompt's tokens, without [SEP]
        prompt_tokens = len(self.tokenizer.encode(prompt).ids) - 1 if prompt else 0
        by_length = {}
        for index, row in enumerate(ids):
            by_length.setdefault(len(row), []).append(index)
        rows = [None] * len(texts)
        for indices in by_length.values():
            for first in range(0, len(indices), 32):
                some = indices[first:first + 32]
                x = self.tokens(torch.tensor([ids[index] for index in some]))
                for module in self.modules[1:]:
                    kind = module["type"].rsplit(".", 1)[-1]
                    if kind == "Pooling":
                        x = self.pool(module["path"], x, prompt_tokens)
                    elif kind == "Dense":
                        x = self.dense(module["path"], x)
                    elif kind == "Normalize":
                        x = functional.normalize(x, p=2, dim=1)
                for index, row in zip(some, x):
                    rows[index] = row
        return torch.stack(rows)


def read_stsb(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    head = rows[0]
    split, score, first, second = (head.index(name) for name in ("split", "score", "sentence1", "sentence2"))
    test = [row for row in rows[1:] if row[split] == "test"]
    return [row[first] for row in test] + [row[second] for row in test], [float(row[score]) for row in test]


def ranks(values):
    """Average ranks, ties sharing theirs."""
    values = np.asarray(values)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(a, b):
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def compare(job):
    with open(job["texts"], encoding="utf-8", newline="\n") as file:
        texts = file.read().removesuffix("\n").split("\n")
    with torch.inference_mode():
        expected = Reference(job["model"]).encode(texts, job.get("prompt", "")).double().numpy()
    results = []
    for path in job["embeddings"]:
        given = np.fromfile(path, np.float32).astype(np.float64).reshape(expected.shape)
        lengths = np.linalg.norm(given, axis=1) * np.linalg.norm(expected, axis=1)
        scale = max(1.0, np.abs(expected).max())
        result = {"min_cosine": float(((given * expected).sum(1) / lengths).min()),
                  "max_difference": float(np.abs(given - expected).max() / scale)}
        if job.get("stsb"):
            scores = read_stsb(job["stsb"])[1]
            first, second = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in np.split(given, 2))
            result["spearman"] = spearman((first * second).sum(1), scores)
        results.append(result)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    texts = commands.add_parser("texts")
    texts.add_argument("stsb")
    texts.add_argument("output")
    comparison = commands.add_parser("compare")
    comparison.add_argument("jobs")
    options = parser.parse_args()
    if options.command == "compare":
        with open(options.jobs, encoding="utf-8") as file:
            jobs = json.load(file)
        print(json.dumps([result for job in jobs for result in compare(job)]))
        return
    with open(options.output, "w", encoding="utf-8", newline="\n") as file:
        file.write("\n".join(read_stsb(options.stsb)[0]) + "\n")


if __name__ == "__main__":
    main()
