"""The peers: each opens one exported form of the model and turns token ids into unit vectors."""
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def padded(ids):
    """Token ids and mask of a batch, filled up to its longest text."""
    tokens = np.zeros((len(ids), max(map(len, ids))), np.int64)
    mask = np.zeros_like(tokens)
    for row, text in enumerate(ids):
        tokens[row, :len(text)] = text
        mask[row, :len(text)] = 1
    return tokens, mask


class Engine:
    """One peer. `lanes` batches run at a time, each with its share of the threads."""

    def __init__(self, artifacts, threads):
        self.artifacts = artifacts
        self.threads = threads
        self._lanes = {}

    def load_library(self):
        raise NotImplementedError

    def make(self, calibration):
        """Makes the form of the model that is opened, where it is not made yet."""

    def open_lane(self, lanes):
        """A function from a batch of ids to its vectors, which `lanes` threads call at a time."""
        raise NotImplementedError

    def lane(self, lanes):
        if lanes not in self._lanes:
            self._lanes[lanes] = self.open_lane(lanes)
        return self._lanes[lanes]

    def run_all(self, work, items, lanes):
        """`work(embed, item)` for every item, in order; `embed` is the lane's function."""
        embed = self.lane(lanes)
        if lanes == 1:
            return [work(embed, item) for item in items]
        with ThreadPoolExecutor(lanes) as pool:
            return list(pool.map(lambda item: work(embed, item), items))


class Torch(Engine):
    def __init__(self, artifacts, threads, precision):
        super().__init__(artifacts, threads)
        self.precision = precision

    def load_library(self):
        import torch
        import transformers.models.bert.modeling_bert  # noqa: F401
        torch.set_num_threads(self.threads)

    def open_lane(self, lanes):
        import torch
        from artifacts import load_torch_encoder
        encoder = load_torch_encoder(self.artifacts.model)
        if self.precision == "bf16":
            encoder = encoder.to(torch.bfloat16)

        def embed(ids):
            tokens, mask = padded(ids)
            with torch.inference_mode():
                return encoder(torch.from_numpy(tokens), torch.from_numpy(mask)).float().numpy()

        return embed


class OnnxRuntime(Engine):
    def __init__(self, artifacts, threads, precision):
        super().__init__(artifacts, threads)
        self.precision = precision

    def load_library(self):
        import onnxruntime
        onnxruntime.set_default_logger_severity(3)

    def make(self, calibration):
        return self.artifacts.onnx_int8() if self.precision == "int8" else self.artifacts.onnx_fused()

    def open_lane(self, lanes):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, self.threads // lanes)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(str(self.make(())), options, providers=["CPUExecutionProvider"])

        def embed(ids):
            tokens, mask = padded(ids)
            return session.run(None, {"input_ids": tokens, "attention_mask": mask})[0]

        return embed


class OpenVino(Engine):
    def __init__(self, artifacts, threads, precision):
        super().__init__(artifacts, threads)
        self.precision = precision

    def load_library(self):
        import openvino  # noqa: F401

    def make(self, calibration):
        return self.artifacts.openvino_int8(calibration) if self.precision == "int8" else self.artifacts.onnx()

    def settings(self, lanes):
        settings = {"INFERENCE_NUM_THREADS": self.threads}
        settings.update({"PERFORMANCE_HINT": "LATENCY"} if lanes == 1 else {"NUM_STREAMS": lanes})
        if self.precision != "int8":  # there, what is not quantized runs in the format the library picks
            settings["INFERENCE_PRECISION_HINT"] = self.precision
        return settings

    def open_lane(self, lanes):
        import openvino
        core = openvino.Core()
        core.set_property({"CACHE_DIR": str(self.artifacts.folder / "openvino-cache")})
        model = core.compile_model(str(self.make(())), "CPU", self.settings(lanes))
        requests = [model.create_infer_request() for _ in range(lanes)]

        def embed(ids):
            tokens, mask = padded(ids)
            request = requests.pop()
            try:
                request.infer({"input_ids": tokens, "attention_mask": mask}, share_inputs=True)
                return request.get_output_tensor(0).data.copy()
            finally:
                requests.append(request)

        return embed


class CTranslate2(Engine):
    def load_library(self):
        import ctranslate2  # noqa: F401

    def make(self, calibration):
        return self.artifacts.ctranslate2_int8()

    def open_lane(self, lanes):
        import ctranslate2
        encoder = ctranslate2.Encoder(str(self.make(())), device="cpu", compute_type="int8",
                                      inter_threads=lanes, intra_threads=max(1, self.threads // lanes))

        def embed(ids):
            hidden = np.array(encoder.forward_batch(ids).last_hidden_state)
            mask = padded(ids)[1].astype(np.float32)
            pooled = np.matmul(mask[:, None, :], hidden)[:, 0]  # the mean's divisor falls out of the norm
            return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

        return embed


ENGINES = {
    "torch-f32": lambda artifacts, threads: Torch(artifacts, threads, "f32"),
    "torch-bf16": lambda artifacts, threads: Torch(artifacts, threads, "bf16"),
    "onnxruntime-f32": lambda artifacts, threads: OnnxRuntime(artifacts, threads, "f32"),
    "onnxruntime-int8": lambda artifacts, threads: OnnxRuntime(artifacts, threads, "int8"),
    "openvino-f32": lambda artifacts, threads: OpenVino(artifacts, threads, "f32"),
    "openvino-bf16": lambda artifacts, threads: OpenVino(artifacts, threads, "bf16"),
    "openvino-int8": lambda artifacts, threads: OpenVino(artifacts, threads, "int8"),
    "ctranslate2-int8": CTranslate2,
}
