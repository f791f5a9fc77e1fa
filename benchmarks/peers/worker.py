#!/usr/bin/env python3
"""One peer as a child process: a JSON object a line in, one a line out.

  worker.py ENGINE --model DIR --work DIR --threads N

encoder_server.cpp speaks the same protocol for the native encoder and lists the
commands. Two keys of `pass` are known here only: "sorted" (true: batches of texts of
like length) and "lanes" (batches that run at a time, sharing the threads); and a command,
{"do": "make", "calibration": path}, makes the form of the model that the engine opens.
"""
import argparse
import json
import os
import sys
import time


class Worker:
    def __init__(self, options):
        from artifacts import Artifacts
        self.artifacts = Artifacts(options.model, options.work)
        self.engine = None
        if options.engine != "tokenizers":
            from engines import ENGINES
            self.engine = ENGINES[options.engine](self.artifacts, options.threads)
        self.tokenizer = None
        self.sets = {}

    def answer(self, request):
        return getattr(self, "do_" + request.pop("do"))(**request)

    def do_import(self):
        import tokenizers  # noqa: F401
        if self.engine:
            self.engine.load_library()
        return {}

    def do_make(self, calibration):
        with open(calibration, encoding="utf-8") as texts:
            self.engine.make(json.load(texts))
        return {}

    def do_open(self):
        from artifacts import load_tokenizer
        start = time.perf_counter()
        self.tokenizer = load_tokenizer(self.artifacts.model)
        if self.engine:
            self.engine.lane(1)
        return {"seconds": time.perf_counter() - start}

    def do_load(self, set, file):  # noqa: A002: the protocol's word
        with open(file, encoding="utf-8") as texts:
            self.sets[set] = json.load(texts)
        return {}

    def do_pass(self, set, batch, sorted=False, lanes=1, out=None):  # noqa: A002
        texts = self.sets[set]
        start = time.perf_counter()
        chunks = self.sorted_pass(texts, batch, lanes) if sorted else self.arrival_pass(texts, batch, lanes)
        seconds = time.perf_counter() - start
        if out:
            import numpy as np
            rows = [None] * len(texts)
            for indices, vectors in chunks:
                for index, vector in zip(indices, vectors):
                    rows[index] = vector
            np.stack(rows).astype(np.float32).tofile(out)
        return {"seconds": seconds}

    def sorted_pass(self, texts, batch, lanes):
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts)]
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]), reverse=True)
        groups = [order[first:first + batch] for first in range(0, len(order), batch)]
        return self.engine.run_all(lambda embed, group: (group, embed([ids[index] for index in group])), groups, lanes)

    def arrival_pass(self, texts, batch, lanes):
        def work(embed, first):
            some = texts[first:first + batch]
            encodings = self.tokenizer.encode_batch_fast(some) if len(some) > 1 else [self.tokenizer.encode(some[0])]
            return range(first, first + len(some)), embed([encoding.ids for encoding in encodings])
        return self.engine.run_all(work, range(0, len(texts), batch), lanes)

    def do_single(self, set, seconds):  # noqa: A002
        texts, embed = self.sets[set], self.engine.lane(1)
        latencies = []
        begin = time.perf_counter()
        while not latencies or time.perf_counter() - begin < seconds:
            text = texts[len(latencies) % len(texts)]
            start = time.perf_counter()
            embed([self.tokenizer.encode(text).ids])
            latencies.append((time.perf_counter() - start) * 1e3)
        return {"latencies_ms": latencies}

    def do_tokenize(self, set):  # noqa: A002
        start = time.perf_counter()
        encodings = self.tokenizer.encode_batch_fast(self.sets[set])
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "tokens": sum(len(encoding) for encoding in encodings)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine")
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    # Libraries print where they please; the answers keep a channel of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(options)
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:  # whatever a library throws is this peer's answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
