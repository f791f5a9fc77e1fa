#!/usr/bin/env python3
"""Keys and records of stored answers, from docs/cache_key.md and docs/cache_record.md alone.

  golden_vectors.py write FILE           makes the vector file
  golden_vectors.py check FILE LIBRARY   holds the file against this script and the shared library

Standard library only.
"""
import ctypes
import hashlib
import struct
import sys

# Type number: bytes of an element.
ELEMENT = {1: 4, 2: 8, 3: 2, 4: 2, 5: 1, 6: 2, 7: 4, 8: 8, 9: 1, 10: 1}
U32_MAX = 2**32 - 1


# ---- the two pages ---------------------------------------------------------------------

def field(data):
    return struct.pack("<Q", len(data)) + data


def number(value):
    return field(struct.pack("<Q", value))


def encode_request(fingerprint, source):
    """`source`: bytes of a text, or a list of (type, dimensions, bytes)."""
    out = field(b"tidegate.request.v1") + field(fingerprint)
    if isinstance(source, bytes):
        return out + number(1) + field(source)
    out += number(2) + number(len(source))
    for kind, dims, data in source:
        out += number(kind) + number(len(dims)) + field(struct.pack(f"<{len(dims)}q", *dims)) + field(data)
    return out


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def encode_record(key, tensors, expires_ms, recompute_ns):
    payload = b""
    table = b""
    for kind, dims, data in tensors:
        payload += bytes(-len(payload) % 64) + data
        table += bytes([kind]) + varint(len(dims)) + b"".join(varint(d) for d in dims)
    head = b"TG\x02\x00" + struct.pack("<II", len(payload), min(recompute_ns // 1000, U32_MAX))
    rest = struct.pack("<qQ", expires_ms, 0) + key + payload + table + struct.pack("<I", len(table))
    return head + struct.pack("<I", crc32c(head + rest)) + rest


# ---- the cases ---------------------------------------------------------------------------

def tensor(kind, dims, start=0):
    count = ELEMENT[kind]
    for d in dims:
        count *= d
    data = bytes((start + 7 * i) % 256 for i in range(count))
    return kind, list(dims), bytes(b & 1 for b in data) if kind == 10 else data


def key_cases():
    counting = bytes(range(32))
    yield "empty text", counting, b""
    yield "hello", counting, b"hello"
    yield "text with NUL bytes", counting, b"hello\0world\0"
    yield "text beyond ASCII", counting, "Gr\u00fc\u00dfe, \u6f6e\u6c50 \U0001F30A".encode()
    yield "text of 415 bytes", counting, b"x" * 415  # ends with the encoder's buffer
    yield "text of 416 bytes", counting, b"x" * 416
    yield "long text", counting, bytes(97 + i % 26 for i in range(1500))
    yield "another model", bytes(255 - i for i in range(32)), b"hello"
    yield "model of zeros", bytes(32), b"hello"
    yield "no tensors", counting, []
    for kind in ELEMENT:
        yield f"type {kind}", counting, [tensor(kind, (2, 3), kind)]
    yield "one number", counting, [tensor(1, ())]
    yield "no elements", counting, [tensor(8, (0, 4))]
    yield "a row", counting, [tensor(1, (1, 6))]
    yield "a column", counting, [tensor(1, (6, 1))]
    yield "rank 16", counting, [tensor(9, (1,) * 15 + (2,))]
    yield "token ids", counting, [(8, [1, 3], struct.pack("<3q", 101, 7592, 102)), (8, [1, 3], struct.pack("<3q", 1, 1, 1))]
    yield "the same two, exchanged", counting, [(8, [1, 3], struct.pack("<3q", 1, 1, 1)), (8, [1, 3], struct.pack("<3q", 101, 7592, 102))]
    yield "large tensor", counting, [tensor(1, (20, 20))]
    yield "64 tensors", counting, [tensor(9, (1,), i) for i in range(64)]


def record_cases():
    key = bytes(range(32))
    two = (1, [2], struct.pack("<2f", 1.0, -2.0))
    yield "two floats", key, 1700000000123, 0, [two]
    yield "no tensors", key, 1700000000123, 0, []
    yield "another key", bytes(255 - i for i in range(32)), 1700000000123, 0, [two]
    yield "cost of whole microseconds", key, 1, 2_500_999, [two]
    yield "cost beyond its field", key, 1, 2**62, [two]
    yield "latest end", key, 2**63 - 1, 0, [two]
    yield "end before 1970", key, -1, 0, [two]
    yield "one number", key, 5, 0, [tensor(2, ())]
    yield "gaps to multiples of 64", key, 5, 0, [tensor(9, (1,)), tensor(1, (16,)), tensor(6, (33,), 3), tensor(5, (2,))]
    yield "without elements, first", key, 5, 0, [tensor(1, (0,)), tensor(1, (3,))]
    yield "without elements, between", key, 5, 0, [tensor(1, (3,)), tensor(8, (0, 300)), tensor(1, (3,))]
    yield "without elements, last", key, 5, 0, [tensor(1, (3,)), tensor(8, (2, 0))]
    yield "dimensions of several bytes", key, 5, 0, [tensor(9, (127,)), tensor(9, (128,)), tensor(9, (1, 300)), tensor(9, (0, 2**40))]
    yield "rank 16", key, 5, 0, [tensor(9, (1,) * 15 + (2,))]
    yield "embedding", key, 1700000000123, 1_234_000, [tensor(1, (384,))]
    for kind in ELEMENT:
        yield f"type {kind}", key, 5, 0, [tensor(kind, (2, 3), kind)]


# ---- the file ------------------------------------------------------------------------------

def tensor_lines(tensors):
    for kind, dims, data in tensors:
        yield f"tensor {kind} {','.join(map(str, dims)) or '-'} {data.hex() or '-'}"


def make_file():
    yield "# Keys and records of stored answers, made by golden_vectors.py and never changed: an entry may only be"
    yield "# added. Bytes in hex, '-' = none. tensor: type, dimensions, bytes."
    for name, fingerprint, source in key_cases():
        encoding = encode_request(fingerprint, source)
        yield f"key {name}"
        yield f"fingerprint {fingerprint.hex()}"
        if isinstance(source, bytes):
            yield f"text {source.hex() or '-'}"
        else:
            yield from tensor_lines(source)
        yield f"encoding {encoding.hex()}"
        yield f"digest {hashlib.sha256(encoding).hexdigest()}"
        yield "end"
    for name, key, expires_ms, recompute_ns, tensors in record_cases():
        yield f"record {name}"
        yield f"digest {key.hex()}"
        yield f"expires_unix_ms {expires_ms}"
        yield f"recompute_ns {recompute_ns}"
        yield from tensor_lines(tensors)
        yield f"bytes {encode_record(key, tensors, expires_ms, recompute_ns).hex()}"
        yield "end"


def parse_bytes(text):
    return b"" if text == "-" else bytes.fromhex(text)


def read_file(path):
    """Blocks as (kind, name, words), words a dict, with "tensors" and perhaps "text"."""
    block = None
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word in ("key", "record"):
                block = (word, rest, {"tensors": []})
            elif word == "tensor":
                kind, dims, data = rest.split(" ")
                shape = [] if dims == "-" else [int(d) for d in dims.split(",")]
                block[2]["tensors"].append((int(kind), shape, parse_bytes(data)))
            elif word == "end":
                yield block
            elif not word.startswith("#"):
                block[2][word] = rest


# ---- the library ---------------------------------------------------------------------------

class View(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("dtype", ctypes.c_int32), ("rank", ctypes.c_uint32),
                ("reserved", ctypes.c_uint32), ("shape", ctypes.POINTER(ctypes.c_int64)), ("data", ctypes.c_char_p),
                ("bytes", ctypes.c_uint64)]


class Facts(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("reserved", ctypes.c_uint32),
                ("expires_unix_ms", ctypes.c_int64), ("recompute_ns", ctypes.c_int64)]


def views_of(tensors):
    views = (View * max(1, len(tensors)))()
    for view, (kind, dims, data) in zip(views, tensors):
        shape = (ctypes.c_int64 * max(1, len(dims)))(*dims)
        view.struct_size, view.dtype, view.rank, view.bytes = ctypes.sizeof(View), kind, len(dims), len(data)
        view.shape, view.data = ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64)), data
    return views


class Library:
    def __init__(self, path):
        self.calls = ctypes.CDLL(path)

    def key(self, fingerprint, source):
        out = ctypes.create_string_buffer(32)
        if isinstance(source, bytes):
            status = self.calls.tidegate_key_of_text(fingerprint, source, ctypes.c_size_t(len(source)), out, None)
        else:
            status = self.calls.tidegate_key_of_tensors(fingerprint, views_of(source), ctypes.c_uint32(len(source)), out, None)
        assert status == 0, status
        return out.raw

    def record(self, key, tensors, expires_ms, recompute_ns):
        facts = Facts(ctypes.sizeof(Facts), 0, expires_ms, recompute_ns)
        out, length = ctypes.c_void_p(), ctypes.c_size_t()
        status = self.calls.tidegate_record_write(key, views_of(tensors), ctypes.c_uint32(len(tensors)),
                                                  ctypes.byref(facts), ctypes.byref(out), ctypes.byref(length), None)
        assert status == 0, status
        data = ctypes.string_at(out, length.value)
        self.calls.tidegate_free(out)
        return data


def check(path, library_path):
    library = Library(library_path)
    wrong = []
    counts = {"key": 0, "record": 0}

    def expect(name, what, found, wanted):
        if found != wanted:
            wrong.append(f"{name}: {what} is {found.hex()}, not {wanted.hex()}")

    for kind, name, words in read_file(path):
        counts[kind] += 1
        digest = bytes.fromhex(words["digest"])
        if kind == "key":
            fingerprint = bytes.fromhex(words["fingerprint"])
            source = parse_bytes(words["text"]) if "text" in words else words["tensors"]
            encoding = encode_request(fingerprint, source)
            expect(name, "encoding", encoding, bytes.fromhex(words["encoding"]))
            expect(name, "digest", hashlib.sha256(encoding).digest(), digest)
            expect(name, "the library's digest", library.key(fingerprint, source), digest)
        else:
            facts = int(words["expires_unix_ms"]), int(words["recompute_ns"])
            wanted = bytes.fromhex(words["bytes"])
            expect(name, "record", encode_record(digest, words["tensors"], *facts), wanted)
            expect(name, "the library's record", library.record(digest, words["tensors"], *facts), wanted)
    for line in wrong:
        print(line)
    print(f"{counts['key']} keys and {counts['record']} records, {len(wrong)} differences")
    return 1 if wrong or min(counts.values()) == 0 else 0


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "write":
        with open(sys.argv[2], "w", encoding="utf-8") as out:
            out.writelines(line + "\n" for line in make_file())
    elif len(sys.argv) == 4 and sys.argv[1] == "check":
        sys.exit(check(sys.argv[2], sys.argv[3]))
    else:
        sys.exit(__doc__)
