"""Drives the HTTP server example over loopback. Arguments: SERVER [MODEL_FOLDER]."""
import base64
import http.client
import json
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

SERVER = sys.argv[1]
MODEL = sys.argv[2] if len(sys.argv) > 2 else None


class Running:
    """A server on a free port; stops with SIGTERM and must then end by itself."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([SERVER, "--port", "0", *arguments], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.terminated = False
        self.port = int(line.rsplit(":", 1)[1].split("/")[0])

    def __enter__(self):
        return self

    def terminate(self):
        self.terminated = True
        self.process.send_signal(signal.SIGTERM)

    def __exit__(self, *_):
        if not self.terminated:
            self.terminate()
        self.exit_code = self.process.wait(timeout=20)
        self.process.stdout.close()

    def call(self, method, path, body=None, headers={}):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read(), dict(response.getheaders())
        finally:
            connection.close()

    def embed(self, http_headers={}, **fields):
        status, body, headers = self.call("POST", "/v1/embeddings", json.dumps(fields), http_headers)
        return status, json.loads(body), headers

    def start(self, *arguments, **fields):
        """Embeds on a thread of its own; answers that and the list its answer will be in."""
        answers = []
        thread = threading.Thread(target=lambda: answers.append(self.embed(*arguments, **fields)))
        thread.start()
        return thread, answers

    def await_metric(self, line, thread):
        """Returns once the metrics hold `line`; fails if `thread` ends before."""
        while line.encode() not in self.call("GET", "/metrics")[1]:
            if not thread.is_alive():
                raise AssertionError(f"ended before {line}")


class SyntheticServer(unittest.TestCase):
    def test_one_string_and_a_list_have_openais_shape(self):
        with Running("--synthetic-us", "0") as server:
            status, one, _ = server.embed(input="hello", model="synthetic")
            self.assertEqual(status, 200)
            self.assertEqual(one["object"], "list")
            self.assertEqual(one["model"], "synthetic")
            self.assertEqual([d["index"] for d in one["data"]], [0])
            self.assertEqual(one["data"][0]["object"], "embedding")
            self.assertIn("total_tokens", one["usage"])
            status, many, _ = server.embed(input=["b", "hello", "c"])
            self.assertEqual(status, 200)
            self.assertEqual([d["index"] for d in many["data"]], [0, 1, 2])
            self.assertEqual(many["data"][1]["embedding"], one["data"][0]["embedding"])
        self.assertEqual(server.exit_code, 0)

    def test_base64_holds_the_same_numbers(self):
        with Running("--synthetic-us", "0") as server:
            _, numbers, _ = server.embed(input="x")
            _, packed, _ = server.embed(input="x", encoding_format="base64")
            raw = base64.b64decode(packed["data"][0]["embedding"])
            floats = struct.unpack(f"<{len(raw) // 4}f", raw)
            expected = [struct.unpack("<f", struct.pack("<f", v))[0] for v in numbers["data"][0]["embedding"]]
            self.assertEqual(list(floats), expected)

    def test_bad_requests_are_named(self):
        with Running("--synthetic-us", "0") as server:
            cases = [("{", 400), ("[]", 400), ('{"input": 3}', 400), ('{"input": []}', 400), ('{"input": ["a", 1]}', 400),
                     ('{"model": "synthetic"}', 400), ('{"input": "x", "model": "other"}', 404),
                     ('{"input": "x", "dimensions": 2}', 400), ('{"input": "x", "encoding_format": "hex"}', 400),
                     (json.dumps({"input": ["x"] * 2049}), 400), (b'{"input": "\xff"}', 400)]
            for body, expected in cases:
                status, answer, _ = server.call("POST", "/v1/embeddings", body)
                self.assertEqual(status, expected, body)
                self.assertTrue(json.loads(answer)["error"]["message"])
            self.assertEqual(server.call("GET", "/v1/embeddings")[0], 405)
            self.assertEqual(server.call("GET", "/nowhere")[0], 404)
            self.assertEqual(server.call("POST", "/v1/embeddings", b'{"input": "' + b"x" * (9 << 20) + b'"}')[0], 413)
            self.assertEqual(server.embed(input="still alive")[0], 200)

    def test_a_full_queue_is_429_with_retry_after(self):
        with Running("--synthetic-us", "1000000", "--max-batch-size", "1", "--max-queued-items", "1") as server:
            results = []

            def ask(i):
                results.append(server.embed(input=f"text {i}"))

            threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            statuses = sorted(status for status, _, _ in results)
            self.assertIn(200, statuses)
            self.assertIn(429, statuses)
            refused = next(r for r in results if r[0] == 429)
            self.assertGreaterEqual(int(refused[2]["Retry-After"]), 1)
            self.assertEqual(refused[1]["error"]["code"], "queue_full")

    def test_the_event_loop_answers_while_the_model_is_busy(self):
        with Running("--synthetic-us", "1500000") as server:
            answered = []
            slow = threading.Thread(target=lambda: answered.append(server.embed(input="slow")[0]))
            slow.start()
            while b"tidegate_running_batches" not in server.call("GET", "/metrics")[1]:
                pass
            while b'tidegate_running_batches{model="model"} 1' not in server.call("GET", "/metrics")[1]:
                self.assertTrue(slow.is_alive())
            self.assertEqual(server.call("GET", "/health")[0], 200)
            self.assertEqual(answered, [], "health was answered only after the model had finished")
            slow.join()
            self.assertEqual(answered, [200])

    def test_a_request_past_its_deadline_is_504(self):
        with Running("--synthetic-us", "500000", "--timeout-ms", "50") as server:
            self.assertEqual(server.embed(input="late")[0], 504)

    def test_termination_lets_accepted_requests_finish(self):
        with Running("--synthetic-us", "1500000") as server:
            answered = []
            slow = threading.Thread(target=lambda: answered.append(server.embed(input="slow")[0]))
            slow.start()
            while b'tidegate_running_batches{model="model"} 1' not in server.call("GET", "/metrics")[1]:
                self.assertTrue(slow.is_alive())
            server.terminate()
            slow.join()
            self.assertEqual(answered, [200])
        self.assertEqual(server.exit_code, 0)

    def test_health_is_503_while_every_slot_is_stuck(self):
        with Running("--synthetic-us", "1500000", "--stuck-after-ms", "30", "--timeout-ms", "0") as server:
            self.assertEqual(server.call("GET", "/health")[0], 200)
            slow, answers = server.start(input="slow")
            slow.join()
            self.assertEqual((answers[0][0], answers[0][1]["error"]["code"]), (503, "stuck"))
            status, body, _ = server.call("GET", "/health")
            self.assertEqual(status, 503)
            self.assertEqual(json.loads(body)["status"], "stuck")
            self.assertIn("1 slots", json.loads(body)["reason"])
            while server.call("GET", "/health")[0] != 200:
                pass
            self.assertIn(b'tidegate_stuck_batches{model="model"} 0', server.call("GET", "/metrics")[1])

    def test_rates_are_a_tenants_own_and_its_key_or_user_names_it(self):
        with Running("--synthetic-us", "0", "--requests-per-minute", "2") as server:
            key = {"Authorization": "Bearer one"}
            answers = [server.embed(key, input=f"text {i}", user="whoever") for i in range(4)]
            self.assertEqual(answers[0][0], 200)
            self.assertEqual((answers[3][0], answers[3][1]["error"]["code"]), (429, "quota_exceeded"))
            self.assertGreaterEqual(int(answers[3][2]["Retry-After"]), 1)
            self.assertEqual(server.embed({"Authorization": "Bearer two"}, input="a")[0], 200)
            self.assertEqual(server.embed(input="b", user="whoever")[0], 200)
            self.assertEqual(server.embed(input="c", user="one")[0], 429)
            self.assertEqual(server.embed(input="d", user=3)[0], 400)
            self.assertEqual(server.embed(input="e", user="u" * 257)[0], 400)

    def test_a_critical_request_takes_the_place_of_a_batch_one(self):
        arguments = ("--synthetic-us", "2000000", "--max-batch-size", "1", "--max-queued-items", "1")
        with Running(*arguments) as server:
            running, ran = server.start(input="running")
            server.await_metric('tidegate_running_batches{model="model"} 1', running)
            waiting, waited = server.start({"X-Priority": "batch"}, input="waits")
            server.await_metric('tidegate_queue_items{model="model"} 1', running)
            self.assertEqual(server.embed({"X-Priority": "critical"}, input="comes")[0], 200)
            running.join()
            waiting.join()
            self.assertEqual(ran[0][0], 200)
            self.assertEqual((waited[0][0], waited[0][1]["error"]["code"]), (429, "preempted"))
            self.assertEqual(server.embed({"X-Priority": "urgent"}, input="x")[0], 400)

    def test_models_and_metrics_are_served(self):
        with Running("--synthetic-us", "0") as server:
            models = json.loads(server.call("GET", "/v1/models")[1])
            self.assertEqual(models["data"][0]["id"], "synthetic")
            server.embed(input="x")
            self.assertIn(b"tidegate_requests_total", server.call("GET", "/metrics")[1])


class ModelServer(unittest.TestCase):
    @unittest.skipIf(MODEL is None, "no model folder given")
    def test_minilm_embeds_and_counts_tokens(self):
        with Running("--model", MODEL, "--name", "minilm") as server:
            status, answer, _ = server.embed(input=["A plane is taking off.", "An air plane is taking off."], model="minilm")
            self.assertEqual(status, 200)
            a, b = (d["embedding"] for d in answer["data"])
            self.assertEqual(len(a), 384)
            self.assertGreater(sum(x * y for x, y in zip(a, b)), 0.9)
            self.assertEqual(answer["usage"]["prompt_tokens"], 8 + 9)

    @unittest.skipIf(MODEL is None, "no model folder given")
    def test_precision_and_instruction_set_are_obeyed(self):
        with tempfile.TemporaryDirectory() as packed:
            answers = []
            for extra in ((), ("--precision", "bf16", "--pack-folder", packed), ("--isa", "plain")):
                with Running("--model", MODEL, *extra) as server:
                    answers.append(server.embed(input="A plane is taking off.")[1]["data"][0]["embedding"])
            exact, narrow, plain = answers
            self.assertNotEqual(narrow, exact)
            self.assertGreater(sum(x * y for x, y in zip(narrow, exact)), 0.9999)
            self.assertGreater(sum(x * y for x, y in zip(plain, exact)), 0.999999)

    def test_a_wrong_name_is_bad_usage(self):
        for flag, name in (("--precision", "f12"), ("--isa", "avx1024")):
            done = subprocess.run([SERVER, "--model", "x", flag, name], capture_output=True, text=True, timeout=20)
            self.assertEqual(done.returncode, 2)
            self.assertIn(name, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
