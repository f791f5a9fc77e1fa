"""The model in the form each peer takes, made once and kept in the work folder."""
import contextlib
import json
import math
import pathlib
import shutil
import warnings

MAKING = ".making"


class Artifacts:
    """Paths of one model's exported forms under `folder`; a form is made when first asked for."""

    def __init__(self, model, folder):
        self.model = pathlib.Path(model)
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def _make(self, name, make):
        """`make(path)` writes file or folder `name`; it gets its name only when it is whole."""
        path = self.folder / name
        if path.exists():
            return path
        unfinished = self.folder / (path.stem + MAKING + path.suffix)  # the ending names the form to some peers
        _remove(unfinished)
        make(unfinished)
        unfinished.rename(path)
        return path

    def onnx(self):
        return self._make("model.onnx", lambda path: export_onnx(self.model, path))

    def onnx_fused(self):
        return self._make("fused.onnx", lambda path: fuse_onnx(self.onnx(), self.model, path))

    def onnx_int8(self):
        return self._make("int8.onnx", lambda path: quantize_onnx(self.onnx_fused(), path))

    def openvino_int8(self, calibration=()):
        def make(folder):
            folder.mkdir()
            quantize_openvino(self.onnx(), self.model, calibration, folder / "model.xml")
        return self._make("openvino-int8", make) / "model.xml"

    def ctranslate2_int8(self):
        return self._make("ctranslate2-int8", lambda folder: convert_ctranslate2(self.model, folder))


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def token_limit(model):
    """The longest text in tokens: the smallest limit that the model's files name."""
    config = json.loads((model / "config.json").read_text())
    limits = [config["max_position_embeddings"]]
    for file, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        if (model / file).exists():
            limits.append(json.loads((model / file).read_text()).get(key))
    return int(min(limit for limit in limits if limit))


def load_tokenizer(model):
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(token_limit(model))
    return tokenizer


def load_torch_encoder(model):
    """Token ids and mask to unit vectors, as one torch module with fused attention."""
    import torch
    import transformers

    class SentenceEncoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = transformers.BertModel.from_pretrained(model, add_pooling_layer=False,
                                                               attn_implementation="sdpa")

        def forward(self, input_ids, attention_mask):
            hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            return torch.nn.functional.normalize(pooled, p=2.0, dim=1)

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return SentenceEncoder().eval()


def plain_encoder(model):
    """The same arithmetic in the plain operations that the peers' graph optimizers recognize as BERT."""
    import torch
    fused = load_torch_encoder(model)
    bert = fused.bert

    def split(x, heads):
        return x.view(x.size()[:-1] + (heads, x.size(-1) // heads)).permute(0, 2, 1, 3)

    def attend(layer, x, mask):
        own, heads = layer.attention.self, bert.config.num_attention_heads
        query, key, value = (split(part(x), heads) for part in (own.query, own.key, own.value))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.size(-1)) + mask
        context = torch.matmul(torch.softmax(scores, -1), value).permute(0, 2, 1, 3)
        context = context.reshape(context.size()[:-2] + (x.size(-1),))
        return layer.attention.output.LayerNorm(layer.attention.output.dense(context) + x)

    class PlainEncoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = bert

        def forward(self, input_ids, attention_mask):
            parts = bert.embeddings
            places = torch.arange(input_ids.size(1)).unsqueeze(0)
            x = parts.LayerNorm(parts.word_embeddings(input_ids) + parts.position_embeddings(places)
                                + parts.token_type_embeddings(torch.zeros_like(input_ids)))
            mask = (1.0 - attention_mask.unsqueeze(1).unsqueeze(2).to(x.dtype)) * -10000.0
            for layer in bert.encoder.layer:
                x = attend(layer, x, mask)
                inner = torch.nn.functional.gelu(layer.intermediate.dense(x))
                x = layer.output.LayerNorm(layer.output.dense(inner) + x)
            column = attention_mask.unsqueeze(-1).to(x.dtype)
            return torch.nn.functional.normalize((x * column).sum(1) / column.sum(1), p=2.0, dim=1)

    return PlainEncoder().eval()


def export_onnx(model, path):
    import torch
    # Two texts of unequal length, so that the mask is traced as one that matters.
    ids = torch.tensor([[101, 2023, 2003, 102], [101, 2003, 102, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    axes = {0: "batch", 1: "length"}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(plain_encoder(model), (ids, mask), str(path), dynamo=False, opset_version=17,
                          input_names=["input_ids", "attention_mask"], output_names=["embedding"],
                          dynamic_axes={"input_ids": axes, "attention_mask": axes, "embedding": {0: "batch"}})


def fuse_onnx(source, model, path):
    from onnxruntime.transformers import optimizer
    config = json.loads((model / "config.json").read_text())
    fused = optimizer.optimize_model(str(source), model_type="bert", num_heads=config["num_attention_heads"],
                                     hidden_size=config["hidden_size"], opt_level=1)
    fused.save_model_to_file(str(path))


def quantize_onnx(source, path):
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    quantize_dynamic(str(source), str(path), per_channel=True, reduce_range=False, weight_type=QuantType.QInt8,
                     extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})


def quantize_openvino(source, model, texts, path):
    import nncf
    import numpy as np
    import openvino
    tokenizer = load_tokenizer(model)

    def inputs(text):
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    nncf.set_log_level(40)
    with contextlib.redirect_stdout(None):
        quantized = nncf.quantize(openvino.Core().read_model(source), nncf.Dataset(texts, inputs),
                                  model_type=nncf.ModelType.TRANSFORMER, subset_size=len(texts))
    openvino.save_model(quantized, path, compress_to_fp16=False)


def convert_ctranslate2(model, folder):
    import ctranslate2
    ctranslate2.converters.TransformersConverter(str(model)).convert(str(folder), quantization="int8")


def make_random_model(tokenizer_from, folder, layers=12, hidden=768):
    """A BERT of random weights in the layout of sentence-transformers, with a real tokenizer."""
    import torch
    import transformers
    torch.manual_seed(7)
    config = transformers.BertConfig(num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=hidden // 64,
                                     intermediate_size=4 * hidden)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder, safe_serialization=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "modules.json", "special_tokens_map.json",
                 "sentence_bert_config.json", "config_sentence_transformers.json"):
        if (tokenizer_from / name).exists():
            shutil.copy(tokenizer_from / name, folder / name)
    pooling = folder / "1_Pooling"
    pooling.mkdir()
    settings = json.loads((tokenizer_from / "1_Pooling" / "config.json").read_text())
    settings["word_embedding_dimension"] = hidden
    (pooling / "config.json").write_text(json.dumps(settings))
