"""Runs the program `tidegate` as a user does. Arguments: PROGRAM SHARED_FOLDER [MODEL_FOLDER]."""
import fcntl
import json
import os
import pathlib
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import unittest

import numpy as np

PROGRAM, SHARED = sys.argv[1], pathlib.Path(sys.argv[2])
MODEL = sys.argv[3] if len(sys.argv) > 3 else None
PRECISIONS = ("f32", "bf16", "int8", "auto")
INSTRUCTION_SETS = ("plain", "avx2", "avx512", "avx512_vnni", "avx512_bf16")
needs_model = unittest.skipIf(MODEL is None, "the MiniLM package is not installed")


def run(*arguments, stdin=b""):
    done = subprocess.run([PROGRAM, *map(str, arguments)], input=stdin, capture_output=True, timeout=250)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class FakeRedis:
    """Keeps what it is told to SET and answers MGET, in this process."""

    def __init__(self):
        self.values = {}
        values = self.values

        class Link(socketserver.StreamRequestHandler):
            def handle(self):
                while first := self.rfile.readline():
                    words = []
                    for _ in range(int(first[1:])):
                        length = int(self.rfile.readline()[1:])
                        words.append(self.rfile.read(length + 2)[:-2])
                    self.wfile.write(self.answer(words))

            def answer(self, words):
                if words[0] == b"SET":
                    values[words[1]] = words[2]
                    return b"+OK\r\n"
                if words[0] != b"MGET":
                    return b"+PONG\r\n" if words[0] == b"PING" else b"-ERR unknown command\r\n"
                found = [values.get(name) for name in words[1:]]
                return b"*%d\r\n" % len(found) + b"".join(
                    b"$-1\r\n" if one is None else b"$%d\r\n%s\r\n" % (len(one), one) for one in found)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Link)
        self.server.daemon_threads = True
        self.address = "127.0.0.1:%d" % self.server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *failure):
        self.server.shutdown()
        self.server.server_close()


class Usage(unittest.TestCase):
    def test_every_command_has_help_and_json(self):
        code, overview, _ = run("--help")
        self.assertEqual(code, 0)
        for command in ("encode", "tokenize", "bench", "doctor", "simulate", "cache"):
            self.assertIn(command, overview)
            code, text, _ = run(command, "--help")
            self.assertEqual(code, 0)
            self.assertIn("--json", text)

    def test_bad_usage_is_2(self):
        for arguments in ([], ["sail"], ["encode"], ["encode", "--model", "x", "--input", "-", "--output", "y", "--threads", "0"],
                          ["encode", "--model", "x", "--input", "-", "--output", "y", "--precision", "f12"],
                          ["bench", "--model", "x", "--precision", ""],
                          ["bench"], ["bench", "--stream", "0"], ["bench", "--model", "x", "--chunks", "4"],
                          ["bench", "--model", "x", "--isa", "avx1024"],
                          ["bench", "--model", "x", "--precision", "bf16", "--calibration", os.devnull],
                          ["bench", "--model", "x", "--precision", "int8", "--calibration", os.devnull],
                          ["tokenize", "--model", "x", "--input", "-", "--max", "3"]):
            code, _, errors = run(*arguments)
            self.assertEqual(code, 2, arguments)
            self.assertTrue(errors, arguments)

    def test_bench_measures_streams(self):
        flags = ["bench", "--stream", 24, "--in-flight", 12, "--chunks", 6, "--base-us", 1000, "--per-token-us", 1]
        code, text, errors = run(*flags, "--json")
        self.assertEqual(code, 0, errors)
        one, together = json.loads(text)["steps"]
        self.assertEqual((one["in_flight"], together["in_flight"]), (1, 12))
        # Chunks cost mostly the step, so a step of many is worth many.
        self.assertAlmostEqual(one["chunks_per_step"], 1)
        self.assertGreater(together["chunks_per_step"], 4)
        self.assertGreater(together["chunks_per_second"], 2 * one["chunks_per_second"])
        for step in (one, together):
            self.assertGreaterEqual(step["between_chunks_p50_ms"], 0.9)
            self.assertGreaterEqual(step["first_chunk_p99_ms"], step["first_chunk_p50_ms"])
        code, text, errors = run(*flags)
        self.assertEqual(code, 0, errors)
        self.assertIn("together", text)

    def test_a_wrong_name_of_a_flag_is_shown_with_the_allowed_ones(self):
        for flag, names in (("--precision", PRECISIONS), ("--isa", INSTRUCTION_SETS)):
            code, _, errors = run("encode", "--model", "x", "--input", "-", "--output", "y", flag, "f12")
            self.assertEqual(code, 2)
            for name in (flag, "f12", *names):
                self.assertIn(name, errors)

    def test_a_calibration_that_cannot_be_used_is_named(self):
        calibrate = ["bench", "--model", "x", "--calibration"]
        code, _, errors = run(*calibrate, "/no/such/texts", "--precision", "int8")
        self.assertEqual(code, 1)
        self.assertIn("/no/such/texts", errors)
        self.assertIn("holds no text", run(*calibrate, os.devnull, "--precision", "auto")[2])
        self.assertIn("for --precision int8 or auto, not f32", run(*calibrate, os.devnull)[2])

    def test_a_missing_model_or_file_is_named(self):
        code, _, errors = run("encode", "--model", "/nowhere", "--input", os.devnull, "--output", "/tmp/never.npy")
        self.assertEqual(code, 1)
        self.assertIn("/nowhere", errors)
        code, _, errors = run("tokenize", "--model", "/nowhere", "--input", "/no/such/file")
        self.assertEqual(code, 1)
        self.assertIn("/no/such/file", errors)

    def test_doctor_reports_machine_and_modules(self):
        code, text, _ = run("doctor", "--json")
        self.assertEqual(code, 0)
        report = json.loads(text)
        self.assertGreaterEqual(report["cpu"]["usable_cores"], 1)
        modules = {m["name"]: m for m in report["modules"]}
        self.assertTrue(modules["encoder"]["usable"], modules["encoder"])
        facts = modules["encoder"]["facts"]
        self.assertIn("onednn", facts)
        # The module looks for itself; what it finds must be among the processor's own flags.
        detected = set(facts["detected"].split()) - {"none"}
        flags = {"avx512" if name == "avx512f" else name for name in report["cpu"]["instruction_sets"]}
        self.assertLessEqual(detected, flags)
        self.assertIn(facts["kernels"], detected | {"plain"})
        self.assertEqual(run("doctor")[0], 0)


class Simulate(unittest.TestCase):
    def test_recorded_cases_agree(self):
        cases = SHARED / "hpa_cases.json"
        if not cases.exists():
            self.skipTest(f"{cases} is not here")
        total = len(json.loads(cases.read_text())["cases"])
        code, text, _ = run("simulate", "--cases", cases)
        self.assertEqual((code, text.splitlines()[0]), (0, f"{total} of {total} cases agree"))
        code, text, _ = run("simulate", "--cases", cases, "--json")
        self.assertEqual(json.loads(text), {"cases": total, "agree": total, "failures": []})

    def test_a_case_that_disagrees_is_shown_and_fails(self):
        cases = SHARED / "hpa_cases.json"
        if not cases.exists():
            self.skipTest(f"{cases} is not here")
        document = json.loads(cases.read_text())
        victim = next(c for c in document["cases"] if "replicas" in c["expect"])
        victim["expect"]["replicas"] += 1
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "cases.json"
            path.write_text(json.dumps(document))
            code, text, _ = run("simulate", "--cases", path)
            self.assertEqual(code, 1)
            self.assertIn(victim["id"], text)
            path.write_text("{")
            self.assertNotEqual(run("simulate", "--cases", path)[0], 0)

    def test_a_cache_trace_is_replayed(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "keys.txt"
            path.write_text("a\nb\na\nc\na\nb\n")
            replay = ["simulate", "--cache-trace", path, "--policy", "lru", "--capacity"]
            code, text, _ = run(*replay, "2")
            self.assertEqual(code, 0)
            self.assertEqual(dict(line.split(maxsplit=1) for line in text.splitlines() if "ratio" not in line),
                             {"requests": "6", "keys": "3", "misses": "4", "evicted": "2", "rejected": "0"})
            self.assertIn("hit ratio  0.3333", text)
            code, text, _ = run(*replay, "1KiB", "--json")
            self.assertEqual((code, json.loads(text)["capacity"], json.loads(text)["misses"]), (0, 1024, 3))
            code, _, errors = run(*replay, "0")
            self.assertEqual(code, 2)
            self.assertIn("capacity", errors)
            code, _, errors = run("simulate", "--cache-trace", path, "--policy", "best", "--capacity", "2")
            self.assertEqual(code, 2)
            for name in ("best", "s3_fifo", "lru", "lfu", "w_tiny_lfu", "ttl_only"):
                self.assertIn(name, errors)
            self.assertEqual(run("simulate", "--cache-trace", path)[0], 2)
            self.assertEqual(run("simulate")[0], 2)

    def test_a_queue_trace_is_replayed(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "trace.csv")
            path.write_text("time_us,tokens,class,deadline_us\n" + "".join(f"{i * 500},10,interactive,{20000 if i % 2 else ''}\n" for i in range(200)))
            replay = ["simulate", "--queue-trace", path, "--service-base-us", "1000", "--service-token-us", "20"]
            code, text, errors = run(*replay, "--json")
            self.assertEqual(code, 0, errors)
            report = json.loads(text)
            self.assertEqual(report["requests"], 200)
            self.assertEqual(report["answered"] + report["refused"] + report["expired"] + report["dropped"], 200)
            self.assertGreater(report["batches"], 0)
            self.assertLessEqual(report["wait_p50_ms"], report["wait_p99_ms"])
            code, text, _ = run(*replay, "--max-batch-size", "1", "--explain", "3")
            self.assertEqual(code, 0)
            self.assertIn("goodput", text)
            self.assertEqual(text.count("batch "), 3)
            self.assertEqual(run("simulate", "--queue-trace", path)[0], 2)
            path.write_text("time_us,tokens\n5,0\n")
            code, _, errors = run(*replay)
            self.assertEqual(code, 1)
            self.assertIn("trace.csv:2", errors)
            missing = pathlib.Path(folder) / "none.bin"
            code, _, errors = run("simulate", "--cache-trace", missing, "--capacity", "9")
            self.assertEqual(code, 1)
            self.assertIn(str(missing), errors)

    def test_replicas_follow_a_queue_trace(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "trace.csv")
            # 300 a second for 30 s; a replica serves about 100.
            path.write_text("time_us,tokens\n" + "".join(f"{i * 3333},10\n" for i in range(9000)))
            profile = pathlib.Path(folder, "tidegate-profile-0.json")
            level = {"samples": 200, "coefficients_ns": [0, 1e6, 0, 0]}
            profile.write_text(json.dumps({"tail95": 1.1, "tail99": 1.2, "levels": [level, {"samples": 0, "coefficients_ns": [0] * 4}]}))
            replay = ["simulate", "--queue-trace", path, "--service-profile", profile, "--autoscale", "--slo-ms", "100"]
            code, text, errors = run(*replay, "--json")
            self.assertEqual(code, 0, errors)
            report = json.loads(text)
            self.assertEqual(report["answered"], 9000)
            self.assertGreaterEqual(report["most_replicas"], 4)
            self.assertGreater(report["replica_seconds"], 30)
            self.assertIn("lane trace", report["replica_changes"][0]["why"])
            code, text, _ = run(*replay, "--explain", "2")
            self.assertIn("replicas", text)
            self.assertIn("SLO 100.000 ms", text)
            code, _, errors = run(*replay, "--target-utilization", "1.5")
            self.assertEqual(code, 2)
            self.assertIn("target_utilization", errors)
            profile.write_text("{}")
            code, _, errors = run(*replay)
            self.assertEqual(code, 1)
            self.assertIn("tidegate-profile-0.json", errors)


class Cache(unittest.TestCase):
    """`tidegate cache` on a synthetic model, so that no weights are needed."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        self.texts = self.path / "texts"
        self.texts.write_text("".join(f"text {i}\n" for i in range(40)) + "\ntext 0\n")

    def tearDown(self):
        self.folder.cleanup()

    def describe(self, **keys):
        config = {"models": [{"name": "m", "kind": "synthetic"}], **keys}
        (self.path / "config").write_text(json.dumps(config))

    def cache(self, verb, *flags):
        code, text, errors = run("cache", verb, "--config", self.path / "config", *flags, "--json")
        return code, json.loads(text) if text else None, errors

    def warm(self):
        code, report, errors = self.cache("warm", "--input", self.texts)
        self.assertEqual(code, 0, errors)
        self.assertEqual(report["texts"], 41)
        return report

    def test_warm_skips_what_is_there_and_clear_forgets_it(self):
        for keys in ({"cache.disk.folder": str(self.path / "disk")}, {"cache.snapshot.file": str(self.path / "snapshot")}):
            self.describe(**keys)
            first = self.warm()
            self.assertGreaterEqual(first["computed"], 40)
            self.assertEqual(self.warm()["computed"], 0)
            code, report, errors = self.cache("clear")
            self.assertEqual(code, 0, errors)
            self.assertTrue(report["cleared"])
            self.assertGreaterEqual(self.warm()["computed"], 40)

    def test_a_tag_that_is_cleared_leaves_what_has_none(self):
        self.describe(**{"cache.disk.folder": str(self.path / "disk")})
        self.warm()
        self.assertEqual(self.cache("clear", "--tag", "x")[0], 0)
        self.assertEqual(self.warm()["computed"], 0)

    def test_stats_tell_what_the_tiers_hold(self):
        self.describe(**{"cache.disk.folder": str(self.path / "disk"), "cache.snapshot.file": str(self.path / "snapshot")})
        self.warm()
        code, report, errors = self.cache("stats")
        self.assertEqual(code, 0, errors)
        self.assertGreaterEqual(report["disk"]["entries"], 40)
        self.assertEqual(report["snapshot"]["answers"], 40)
        self.assertEqual(report["snapshot"]["skipped"], 0)
        code, text, _ = run("cache", "stats", "--config", self.path / "config")
        self.assertEqual(code, 0)
        self.assertIn("entries", text)
        self.describe(**{"cache.redis.address": "127.0.0.1:1"})
        self.assertFalse(self.cache("stats")[1]["redis"]["answers"])

    def test_a_folder_in_use_is_named_with_what_to_do(self):
        self.describe(**{"cache.disk.folder": str(self.path / "disk")})
        self.warm()
        with open(self.path / "disk" / "lock", "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            code, _, errors = self.cache("stats")
        self.assertEqual(code, 1)
        for part in (str(self.path / "disk"), "in use by another process", "stop it"):
            self.assertIn(part, errors)

    def test_clear_tells_redis_also_while_a_process_has_the_folder(self):
        with FakeRedis() as redis:
            self.describe(**{"cache.disk.folder": str(self.path / "disk"), "cache.redis.address": redis.address})
            self.assertEqual(self.cache("clear")[0], 0)
            before = dict(redis.values)
            with open(self.path / "disk" / "lock", "r+b") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                code, _, errors = self.cache("clear")
            self.assertEqual(code, 1)
            for part in ("Redis was told", str(self.path / "disk"), "in use by another process"):
                self.assertIn(part, errors)
            self.assertEqual(len(redis.values), 1)
            self.assertNotEqual(redis.values, before)

    def test_what_cannot_be_done_is_said(self):
        self.describe()
        code, _, errors = self.cache("clear")
        self.assertEqual(code, 2)
        self.assertIn("cache.snapshot.file", errors)
        self.describe(**{"cache.snapshot.file": str(self.path / "none" / "snapshot")})
        self.assertEqual(self.cache("clear", "--model", "other")[0], 1)
        code, _, errors = self.cache("warm", "--input", self.texts)
        self.assertEqual(code, 1)
        self.assertIn("snapshot", errors)
        self.assertEqual(self.cache("warm", "--input", "/no/such/texts")[0], 1)
        self.assertEqual(self.cache("warm", "--input", self.texts, "--model", "other")[0], 2)
        self.describe(**{"cache.redis.address": "127.0.0.1:1"})
        code, _, errors = self.cache("clear", "--wait-ms", 200)
        self.assertEqual(code, 1)
        self.assertIn("did not take the invalidation within 200 ms", errors)
        for arguments in (["cache"], ["cache", "sail"], ["cache", "warm"], ["cache", "stats"]):
            self.assertEqual(run(*arguments)[0], 2, arguments)
        self.assertEqual(run("cache", "stats", "--config", "/no/such/config")[0], 1)


@needs_model
class Encode(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.out = pathlib.Path(self.folder.name) / "out.npy"

    def tearDown(self):
        self.folder.cleanup()

    def encode(self, data, *extra):
        return run("encode", "--model", MODEL, "--input", "-", "--output", self.out, *extra, stdin=data)

    def test_one_row_a_line_and_lines_end_at_newline_only(self):
        texts = ["A plane is taking off.", "", "carriage\rreturn", "line\u2028separator", "  ", "last without newline"]
        code, text, _ = self.encode("\n".join(texts).encode(), "--json")
        self.assertEqual(code, 0)
        self.assertEqual(json.loads(text)["texts"], len(texts))
        rows = np.load(self.out)
        self.assertEqual(rows.shape, (len(texts), 384))
        self.assertEqual(rows.dtype, np.float32)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(rows[1], rows[4])

    def test_the_same_bits_alone_or_in_any_batch(self):
        texts = [f"sentence number {i} " + "and more " * (i % 40) for i in range(120)]
        data = "\n".join(texts).encode()
        self.assertEqual(self.encode(data, "--threads", 2, "--max-batch-size", 64)[0], 0)
        batched = np.load(self.out)
        self.assertEqual(self.encode(data, "--threads", 1, "--max-batch-size", 1)[0], 0)
        np.testing.assert_array_equal(batched, np.load(self.out))

    def test_no_text_gives_an_empty_array(self):
        self.assertEqual(self.encode(b"")[0], 0)
        self.assertEqual(np.load(self.out).shape, (0, 384))

    def test_malformed_utf8_names_the_line_and_leaves_no_file(self):
        code, _, errors = self.encode(b"good\nbad \xff byte\n")
        self.assertNotEqual(code, 0)
        self.assertIn("line 2", errors)
        self.assertEqual(list(pathlib.Path(self.folder.name).iterdir()), [])

    def test_an_output_that_cannot_be_written_is_an_error(self):
        code, _, errors = run("encode", "--model", MODEL, "--input", "-", "--output", "/nowhere/out.npy", stdin=b"x\n")
        self.assertEqual(code, 1)
        self.assertIn("/nowhere/out.npy", errors)

    def test_a_full_disk_is_an_error(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        # The part file is a link to the device that is always full.
        pathlib.Path(f"{self.out}.part").symlink_to("/dev/full")
        code, _, errors = self.encode(b"x\n")
        self.assertEqual(code, 1)
        self.assertIn(str(self.out), errors)

    def test_nul_bytes_and_one_huge_word_are_encoded(self):
        self.assertEqual(self.encode(b"nul \x00 byte\n" + b"w" * 1_000_000 + b"\n")[0], 0)
        self.assertEqual(np.load(self.out).shape[0], 2)

    def test_tokenize_prints_ids(self):
        code, text, _ = run("tokenize", "--model", MODEL, "--input", "-", stdin="hello world\nTide gate\n".encode())
        self.assertEqual(code, 0)
        self.assertEqual(text.splitlines()[0], "101 7592 2088 102")
        code, text, _ = run("tokenize", "--model", MODEL, "--input", "-", "--json", stdin=b"hello world\n\n")
        self.assertEqual([json.loads(line) for line in text.splitlines()], [[101, 7592, 2088, 102], [101, 102]])

    def test_every_precision_stays_close_to_f32(self):
        data = b"A plane is taking off.\nThe captain repairs the old engine.\n"
        texts = pathlib.Path(self.folder.name) / "texts.txt"
        texts.write_text("A man is playing a flute.\n\nSome children watch the ships.\n")
        self.assertEqual(self.encode(data)[0], 0)
        exact = np.load(self.out)
        for precision, least in (("bf16", 0.9999), ("int8", 0.99), ("auto", 0.99)):
            extra = () if precision == "bf16" else ("--calibration", texts)
            code, text, errors = self.encode(data, "--precision", precision, "--pack-folder", self.folder.name, "--json", *extra)
            self.assertEqual(code, 0, errors)
            self.assertEqual(json.loads(text)["precision"], precision)
            rows = np.load(self.out)
            self.assertGreater((rows * exact).sum(axis=1).min(), least, precision)
            if precision != "auto":
                self.assertFalse(np.array_equal(rows, exact), precision)

    def test_every_instruction_set_runs_or_is_said_to_be_lacking(self):
        for isa in INSTRUCTION_SETS:
            code, _, errors = self.encode(b"A plane is taking off.\n", "--isa", isa)
            if code == 0:
                self.assertEqual(np.load(self.out).shape, (1, 384))
                continue
            self.assertNotEqual(isa, "plain")
            self.assertEqual(code, 1)
            self.assertIn(f"lacks the instruction set '{isa}'", errors)

    def bench(self, *extra):
        code, text, errors = run("bench", "--model", MODEL, "--texts", 40, "--pack-folder", self.folder.name, *extra)
        self.assertEqual(code, 0, errors)
        return text

    def test_bench_prints_the_ladder(self):
        report = json.loads(self.bench("--json"))
        steps = {s["step"]: s for s in report["steps"]}
        self.assertEqual(list(steps), ["one by one", "batched", "cached"])
        for step in steps.values():
            self.assertGreater(step["texts_per_second"], 0)
            self.assertAlmostEqual(step["tokens_per_second"] / step["texts_per_second"], report["tokens"] / 40, places=6)
            self.assertLessEqual(step["p50_ms"], step["p99_ms"])
        self.assertGreater(steps["cached"]["texts_per_second"], steps["batched"]["texts_per_second"])

    def test_bench_shows_where_the_time_goes(self):
        for precision in PRECISIONS:
            report = json.loads(self.bench("--precision", precision, "--isa", "plain", "--json"))
            profile = report["profile"]
            self.assertEqual((report["precision"], profile["isa"]), (precision, "plain"))
            self.assertIn(profile["precision"], PRECISIONS[:3] if precision == "auto" else (precision,))
            self.assertTrue(any("precision" in note for note in report["notes"]), report["notes"])
            self.assertEqual((profile["texts"], profile["tokens"]), (40, report["tokens"]))
            self.assertEqual(set(profile["time"]), {"tokenize", "products", "attention", "epilogues", "other"})
            self.assertAlmostEqual(sum(part["share"] for part in profile["time"].values()), 1)
            self.assertGreater(profile["time"]["products"]["share"], 0.2)
            peak = profile["peak_gops"][profile["precision"]]
            self.assertGreater(peak, 0)
            self.assertAlmostEqual(profile["peak_share"], profile["product_gops"] / peak)
        text = self.bench("--precision", "int8")
        for part in ("tokens/s", "precision: int8", "% of the int8 peak", "us/token", "epilogues"):
            self.assertIn(part, text)

    @unittest.skipIf(shutil.which("redis-server") is None, "redis-server is not installed")
    def test_bench_goes_on_when_redis_dies_or_hangs(self):
        report, texts = self.bench_with_redis()
        self.assertGreater(report["redis"]["hits"], texts // 2)
        rate = {s["step"]: s["texts_per_second"] for s in report["steps"]}
        self.assertGreater(rate["cached"], rate["batched"])

        for trouble in (signal.SIGKILL, signal.SIGSTOP):
            with self.subTest(trouble.name):
                broken, texts = self.bench_with_redis(trouble)
                redis = broken["redis"]
                self.assertGreater(redis["connection_lost"] + redis["breaker_open"] + redis["silence"], 0)
                self.assertLess(redis["hits"], report["redis"]["hits"] // 2)
                dipped = {s["step"]: s["texts_per_second"] for s in broken["steps"]}
                self.assertLess(dipped["cached"], rate["cached"])

    def bench_with_redis(self, trouble=None):
        """The report of a bench with a server of its own, which may get a signal once answers are in it."""
        texts = 300
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                                   "--dir", self.folder.name], stdout=subprocess.DEVNULL)
        bench = subprocess.Popen([PROGRAM, "bench", "--model", MODEL, "--texts", str(texts), "--json",
                                  "--redis", f"127.0.0.1:{port}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            while trouble and bench.poll() is None and self.stored_in_redis(port) < 10:
                pass
            if trouble:
                server.send_signal(trouble)
            out, errors = bench.communicate(timeout=250)
        finally:
            server.kill()
            server.wait()
            bench.kill()
        self.assertEqual(bench.returncode, 0, errors)
        return json.loads(out), texts

    @staticmethod
    def stored_in_redis(port):
        """Keys in the server; 0 while it cannot be reached."""
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(b"DBSIZE\r\n")
                return int(connection.recv(64)[1:].split()[0])
        except OSError:
            return 0


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
