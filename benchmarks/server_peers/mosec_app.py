#!/usr/bin/env python3
"""Mosec over one of the peers' int8 forms, answering POST /v1/embeddings in OpenAI's shape.

  mosec_app.py --engine openvino-int8 --model DIR --work DIR --processes N --threads N --batch N --wait-ms N \\
               --address 127.0.0.1 --port N

What follows --wait-ms is mosec's own. Its server is written in Rust and hands batches to
Python processes; each of these tokenizes, runs the model and prints JSON with orjson.
"""
import argparse
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "peers"))

import orjson  # noqa: E402
from mosec import Server, Worker  # noqa: E402
from mosec.errors import DecodingError  # noqa: E402


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", required=True, help="folder of the model's forms, made before")
    for name in ("processes", "threads", "batch", "wait-ms"):
        parser.add_argument("--" + name, type=int, required=True)
    return parser.parse_known_args()[0]


def make_engine(options, artifacts):
    from engines import ENGINES, OpenVino
    if options.engine != "openvino-int8":
        return ENGINES[options.engine](artifacts, options.threads)

    class Unpinned(OpenVino):
        """Processes that know nothing of each other would all be pinned to the first core."""

        def settings(self, lanes):
            return {**super().settings(lanes), "ENABLE_CPU_PINNING": options.processes == 1}

    return Unpinned(artifacts, options.threads, "int8")


class Embedder(Worker):
    """One process: requests in, answers out, a batch at a time."""

    def __init__(self):
        super().__init__()
        from artifacts import Artifacts, load_tokenizer
        options = parse_options()
        self.tokenizer = load_tokenizer(pathlib.Path(options.model))
        engine = make_engine(options, Artifacts(options.model, options.work))
        engine.load_library()
        self.embed = engine.lane(1)

    def deserialize(self, data):
        try:
            request = orjson.loads(data)
            return request["model"], request["input"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise DecodingError("the body must be an object with 'model' and 'input'") from error

    def forward(self, data):
        """A list of requests, or with batches of one the request itself."""
        return self.answer(data) if isinstance(data, list) else self.answer([data])[0]

    def answer(self, requests):
        if len(requests) > 1:
            ids = [encoding.ids for encoding in self.tokenizer.encode_batch_fast([text for _, text in requests])]
        else:
            ids = [self.tokenizer.encode(requests[0][1]).ids]
        return [(model, len(tokens), row) for (model, _), tokens, row in zip(requests, ids, self.embed(ids))]

    def serialize(self, data):
        model, tokens, row = data
        return orjson.dumps({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": row}],
                             "model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}},
                            option=orjson.OPT_SERIALIZE_NUMPY)


def main():
    options = parse_options()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true" if options.threads > 1 else "false")
    server = Server()
    server.append_worker(Embedder, num=options.processes, max_batch_size=options.batch,
                         max_wait_time=options.wait_ms, route="/v1/embeddings")
    server.run()


if __name__ == "__main__":
    main()
