#!/usr/bin/env python3
"""Embeds texts through Tidegate's C ABI with ctypes and asyncio.

  tidegate_ffi.py [--library FILE] [--model FOLDER] [--priority CLASS] [--tenant NAME]
                  [--cache-bytes N] [TEXT...]

Lines of standard input are embedded where no text is given and it is no terminal.
Without a model folder a synthetic model answers. As a module:

  async with Tidegate(model="/models/minilm") as gate:
      vectors = await gate.embed(["one text", "another"])

Exit status: 0 all answered, 1 a text failed, 2 wrong use or no model.
"""
import argparse
import asyncio
import ctypes
import json
import sys
from ctypes import POINTER, byref, c_char_p, c_float, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

OK, DONE, EMPTY = 0, 1, 2
DTYPE_F32 = 1
MAY_COMPLETE_INLINE = 1
PRIORITIES = {"critical": 1, "interactive": 2, "batch": 3}
ABI_VERSION = 1 << 16


class RequestOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("timeout_ns", c_int64), ("deadline_ns", c_int64),
                ("cache", c_int32), ("priority", c_int32), ("tenant", c_char_p), ("tenant_length", c_size_t)]


class TensorView(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("dtype", c_int32), ("rank", c_uint32), ("reserved", c_uint32),
                ("shape", POINTER(c_int64)), ("data", c_void_p), ("bytes", c_uint64)]


class Completion(ctypes.Structure):
    _fields_ = [("tag", c_uint64), ("id", c_uint64), ("kind", c_int32), ("status", c_int32), ("result", c_void_p),
                ("error", c_void_p), ("done_ns", c_int64), ("reserved", c_uint64 * 2)]


assert (ctypes.sizeof(RequestOptions), ctypes.sizeof(TensorView), ctypes.sizeof(Completion)) == (48, 40, 64)

SIGNATURES = {
    "require_abi": (c_int32, [c_uint32, POINTER(c_void_p)]),
    "status_name": (c_char_p, [c_int32]),
    "error_message": (c_char_p, [c_void_p, POINTER(c_size_t)]),
    "error_detail": (c_char_p, [c_void_p, c_char_p, POINTER(c_size_t)]),
    "error_release": (None, [c_void_p]),
    "runtime_create": (c_int32, [c_void_p, POINTER(c_void_p), POINTER(c_void_p)]),
    "runtime_shutdown": (c_int32, [c_void_p, c_int64, POINTER(c_void_p)]),
    "runtime_release": (None, [c_void_p]),
    "cache_resize": (c_int32, [c_void_p, c_uint64, POINTER(c_void_p)]),
    "model_load": (c_int32, [c_void_p, c_char_p, c_size_t, POINTER(c_void_p), POINTER(c_void_p)]),
    "cq_create": (c_int32, [c_void_p, POINTER(c_void_p), POINTER(c_void_p)]),
    "cq_fd": (c_int32, [c_void_p]),
    "cq_drain": (c_int32, [c_void_p, POINTER(Completion), c_size_t, c_size_t, POINTER(c_size_t)]),
    "cq_release": (None, [c_void_p]),
    "submit_text": (c_int32, [c_void_p, c_void_p, c_char_p, c_size_t, POINTER(RequestOptions), c_void_p, c_uint64,
                              POINTER(c_uint64), POINTER(c_void_p), POINTER(c_void_p)]),
    "cancel": (c_int32, [c_void_p, c_uint64]),
    "result_output": (c_int32, [c_void_p, c_uint32, POINTER(TensorView), POINTER(c_void_p)]),
    "result_release": (None, [c_void_p]),
}


class TidegateError(Exception):
    """A failed call or request: `status` is its number, `retry_after_ns` a hint or None."""

    def __init__(self, status, message, retry_after_ns=None):
        super().__init__(message)
        self.status = status
        self.retry_after_ns = retry_after_ns


class Library:
    """The shared library with its signatures declared."""

    def __init__(self, path):
        loaded = ctypes.CDLL(path)
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(loaded, "tidegate_" + name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        self.call("require_abi", ABI_VERSION)

    def call(self, name, *arguments):
        """Calls a function whose last parameter is the error; raises on failure."""
        error = c_void_p()
        status = getattr(self, name)(*arguments, byref(error))
        if status < 0:
            raise self.take_error(status, error)
        return status

    def take_error(self, status, error):
        message = (self.error_message(error, None) or b"").decode() or self.status_name(status).decode()
        retry = self.error_detail(error, b"retry_after_ns", None)
        self.error_release(error)
        return TidegateError(status, message, int(retry) if retry else None)

    def take_vector(self, result):
        """The numbers of a result's first output; releases the result."""
        view = TensorView(struct_size=ctypes.sizeof(TensorView))
        try:
            self.call("result_output", result, 0, byref(view))
            if view.dtype != DTYPE_F32:
                raise TypeError("the model's answer is not made of 32-bit floats")
            return list((c_float * (view.bytes // 4)).from_address(view.data))
        finally:
            self.result_release(result)


class Tidegate:
    """One runtime with one model on the running event loop."""

    BATCH = 64

    def __init__(self, model=None, library="libtidegate.so.1"):
        self._lib = Library(library)
        self._runtime, self._cq = c_void_p(), c_void_p()
        self._futures, self._last_tag = {}, 0
        self._records = (Completion * self.BATCH)()
        self._spec = {"name": "text", "kind": "encoder", "folder": model} if model else \
            {"name": "demo", "kind": "synthetic", "synthetic.dimension": 8}

    async def __aenter__(self):
        self._loop = asyncio.get_running_loop()
        self._lib.call("runtime_create", None, byref(self._runtime))
        try:
            spec = json.dumps(self._spec).encode()
            # Loading blocks, so another thread waits for it.
            await asyncio.to_thread(self._lib.call, "model_load", self._runtime, spec, len(spec), None)
            self._lib.call("cq_create", self._runtime, byref(self._cq))
        except BaseException:
            self._lib.runtime_release(self._runtime)
            raise
        self._loop.add_reader(self._lib.cq_fd(self._cq), self._drain)
        return self

    async def __aexit__(self, *_):
        try:
            await asyncio.to_thread(self._lib.call, "runtime_shutdown", self._runtime, 5_000_000_000)
        finally:
            self._drain()
            self._loop.remove_reader(self._lib.cq_fd(self._cq))
            self._lib.cq_release(self._cq)
            self._lib.runtime_release(self._runtime)

    async def embed_one(self, text, timeout_ns=0, priority="interactive", tenant=""):
        """The vector of one text; raises TidegateError. Cancelling the task cancels the request."""
        data, whose = text.encode(), tenant.encode()
        self._last_tag += 1
        tag, request, result = self._last_tag, c_uint64(), c_void_p()
        options = RequestOptions(struct_size=ctypes.sizeof(RequestOptions), flags=MAY_COMPLETE_INLINE,
                                 timeout_ns=timeout_ns, priority=PRIORITIES[priority], tenant=whose,
                                 tenant_length=len(whose))
        status = self._lib.call("submit_text", self._runtime, None, data, len(data), byref(options), self._cq, tag,
                                byref(request), byref(result))
        if status == DONE:
            return self._lib.take_vector(result)
        future = self._futures[tag] = self._loop.create_future()
        try:
            return await future
        except asyncio.CancelledError:
            self._lib.cancel(self._runtime, request)
            raise

    async def embed(self, texts, **options):
        """One vector or TidegateError per text; options as those of embed_one."""
        return await asyncio.gather(*(self.embed_one(text, **options) for text in texts), return_exceptions=True)

    async def resize_cache(self, capacity_bytes):
        """Gives the memory cache another budget, at most the one it began with; raises TidegateError."""
        await asyncio.to_thread(self._lib.call, "cache_resize", self._runtime, capacity_bytes)

    def _drain(self):
        count = c_size_t()
        while self._lib.cq_drain(self._cq, self._records, ctypes.sizeof(Completion), self.BATCH, byref(count)) == OK:
            for record in self._records[:count.value]:
                self._finish(record)

    def _finish(self, record):
        future = self._futures.pop(record.tag)
        if record.status < 0:
            failure = self._lib.take_error(record.status, c_void_p(record.error))
            if not future.done():
                future.set_exception(failure)
            return
        vector = self._lib.take_vector(c_void_p(record.result))
        if not future.done():
            future.set_result(vector)


async def run(arguments):
    texts = arguments.texts
    if not texts and not sys.stdin.isatty():
        texts = sys.stdin.read().splitlines()
    texts = texts or ["The cat sat on the mat.", "A feline rested on the rug.", "42"]
    failed = 0
    async with Tidegate(arguments.model, arguments.shared_object) as gate:
        if arguments.cache_bytes is not None:
            await gate.resize_cache(arguments.cache_bytes)
        for text, answer in zip(texts, await gate.embed(texts, priority=arguments.priority, tenant=arguments.tenant)):
            if isinstance(answer, BaseException):
                failed += 1
                print(f"tidegate_ffi: {text}: {answer}", file=sys.stderr)
            else:
                print(f"{text}: {len(answer)} numbers:", *(f"{x:.5f}" for x in answer[:4]), "...")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description="Embeds texts through Tidegate's C ABI.")
    parser.add_argument("--library", dest="shared_object", default="libtidegate.so.1", metavar="FILE",
                        help="the shared library (default: the loader's path)")
    parser.add_argument("--model", help="sentence-transformers folder (default: a synthetic model)")
    parser.add_argument("--priority", choices=PRIORITIES, default="interactive", help="what goes first under load")
    parser.add_argument("--tenant", default="", help="whose requests these are (default: nobody's)")
    parser.add_argument("--cache-bytes", type=int, metavar="N", help="what the memory cache may take (default: 64 MiB)")
    parser.add_argument("texts", nargs="*", metavar="TEXT")
    try:
        return asyncio.run(run(parser.parse_args()))
    except (TidegateError, OSError, AttributeError) as failure:
        print(f"tidegate_ffi: {failure}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
