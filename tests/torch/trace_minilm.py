"""Traces a BERT sentence encoder, written in plain torch, into <folder>/minilm.pt.

Usage: trace_minilm.py <sentence-transformers folder> <output folder>
Arguments of the traced module: input_ids and attention_mask, both i64 [batch, length].
Answer: the mean of the last hidden states over the mask, divided by its length.
"""
import json
import math
import struct
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm, linear, softmax


def read_safetensors(path: Path) -> dict:
    data = bytearray(path.read_bytes())
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        first, last = (8 + size + offset for offset in entry["data_offsets"])
        tensors[name] = torch.frombuffer(data[first:last], dtype=torch.float32).reshape(entry["shape"]).clone()
    return tensors


class Bert(nn.Module):
    def __init__(self, folder: Path):
        super().__init__()
        config = json.loads((folder / "config.json").read_text())
        self.heads = config["num_attention_heads"]
        self.layers = config["num_hidden_layers"]
        self.eps = config["layer_norm_eps"]
        self.scale = 1 / math.sqrt(config["hidden_size"] // self.heads)
        if config["hidden_act"] != "gelu":
            raise SystemExit("only the erf form of GELU is written here")
        for name, tensor in read_safetensors(folder / "model.safetensors").items():
            self.register_buffer(name.replace(".", "_"), tensor)

    def weight(self, name):
        return getattr(self, name.replace(".", "_"))

    def dense(self, x, name):
        return linear(x, self.weight(name + ".weight"), self.weight(name + ".bias"))

    def norm(self, x, name):
        return layer_norm(x, [x.shape[-1]], self.weight(name + ".weight"), self.weight(name + ".bias"), self.eps)

    def attention(self, x, bias, name):
        batch, length, hidden = x.shape

        def split(part):
            return self.dense(x, f"{name}.self.{part}").reshape(batch, length, self.heads, -1).transpose(1, 2)

        query, key, value = split("query"), split("key"), split("value")
        scores = query @ key.transpose(2, 3) * self.scale + bias
        mixed = (softmax(scores, dim=-1) @ value).transpose(1, 2).reshape(batch, length, hidden)
        return self.norm(self.dense(mixed, name + ".output.dense") + x, name + ".output.LayerNorm")

    def forward(self, input_ids, attention_mask):
        mask = attention_mask.to(torch.float32)
        bias = (1.0 - mask)[:, None, None, :] * torch.finfo(torch.float32).min
        positions = self.weight("embeddings.position_embeddings.weight")[: input_ids.shape[1]]
        x = self.weight("embeddings.word_embeddings.weight")[input_ids] + positions
        x = x + self.weight("embeddings.token_type_embeddings.weight")[0]
        x = self.norm(x, "embeddings.LayerNorm")
        for i in range(self.layers):
            name = f"encoder.layer.{i}"
            x = self.attention(x, bias, name + ".attention")
            inner = gelu(self.dense(x, name + ".intermediate.dense"))
            x = self.norm(self.dense(inner, name + ".output.dense") + x, name + ".output.LayerNorm")
        pooled = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1e-9)
        return pooled / pooled.norm(dim=1, keepdim=True).clamp(min=1e-12)


def main(model: Path, output: Path) -> None:
    bert = Bert(model).eval()
    ids = torch.randint(1000, 2000, (2, 7))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    with torch.no_grad():
        torch.jit.trace(bert, (ids, mask)).save(str(output / "minilm.pt"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
