#!/usr/bin/env python3
"""The vectors that every server's answers are compared with: torch f32, one text at a time, no server around it.

  reference.py MODEL TEXTS.json OUT.npy
"""
import json
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from artifacts import load_tokenizer, load_torch_encoder  # noqa: E402


def main(model, texts, out):
    tokenizer, encoder = load_tokenizer(pathlib.Path(model)), load_torch_encoder(model)
    rows = []
    with torch.inference_mode(), open(texts, encoding="utf-8") as file:
        for text in json.load(file):
            ids = torch.tensor([tokenizer.encode(text).ids])
            rows.append(encoder(ids, torch.ones_like(ids))[0].numpy())
    np.save(out, np.stack(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
