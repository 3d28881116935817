"""docs/openapi.yaml against the real binaries: a client that another project's generator makes of it works, and
requests and answers of every route are what it says.

Run by `make test-openapi`. TIDEGATE_BIN is where the binaries are. Where a route needs a kind of model that `make up`
does not serve, a worker serves a small one of tests/fixtures.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import jsonschema
import yaml
from openapi_spec_validator import validate

from blocks import ROOT
from machine import Machine, free_ports

PAGE = ROOT / "docs/openapi.yaml"
SPEC = yaml.safe_load(PAGE.read_text())

# What info.description leaves out.
NOT_DESCRIBED = {("post", "/")}

EMBEDDINGS = {"model": "all-MiniLM-L6-v2", "input": ["high tide", "low tide"]}
CHAT = {"model": "SmolLM2-135M-Instruct", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
LINE = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": EMBEDDINGS}

# Which server, which route, which body, which status.
CASES = [
    ("up", "post", "/v1/chat/completions", CHAT, 200),
    ("up", "post", "/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 2, "stop": ["x"], "seed": 1}, 200),
    ("up", "post", "/v1/completions", {"model": CHAT["model"], "prompt": "hi", "max_tokens": 4, "logprobs": 1}, 200),
    ("up", "post", "/generate",
     {"model": CHAT["model"], "inputs": "hi", "parameters": {"max_new_tokens": 4, "details": True, "seed": 1}}, 200),
    ("up", "post", "/generate", {"model": CHAT["model"], "inputs": "hi", "parameters": {"best_of": 2}}, 422),
    ("up", "post", "/generate", {"model": "unknown", "inputs": "hi"}, 404),
    ("up", "post", "/v1/embeddings", EMBEDDINGS, 200),
    ("up", "post", "/v1/embeddings", {**EMBEDDINGS, "encoding_format": "base64", "dimensions": 8}, 200),
    ("up", "post", "/v1/embeddings", {"model": "unknown", "input": "x"}, 404),
    ("up", "post", "/embed", {"model": "all-MiniLM-L6-v2", "inputs": "high tide", "normalize": False}, 200),
    ("up", "post", "/embed", {"model": "all-MiniLM-L6-v2", "inputs": []}, 400),
    ("up", "post", "/embed_all", {"model": "all-MiniLM-L6-v2", "inputs": "high tide"}, 200),
    ("up", "post", "/similarity",
     {"model": "all-MiniLM-L6-v2", "inputs": {"source_sentence": "a", "sentences": ["b", "c"]}}, 200),
    ("up", "post", "/tokenize", {"model": "all-MiniLM-L6-v2", "inputs": "high tide"}, 200),
    ("up", "get", "/info", None, 400),
    ("up", "get", "/v1/models", None, 200),
    ("up", "get", "/v1/models/{model}", None, 200),
    ("up", "get", "/v1/files", None, 200),
    ("up", "get", "/v1/batches", None, 200),
    ("up", "get", "/readyz", None, 200),
    ("up", "post", "/v1/rerank", {"model": "all-MiniLM-L6-v2", "query": "a", "documents": ["b"]}, 400),
    ("reranker", "post", "/v1/rerank", {"query": "tide", "documents": ["tide", {"text": "sea"}], "top_n": 1}, 200),
    ("reranker", "post", "/v2/rerank", {"query": "tide", "documents": ["tide", "sea"], "return_documents": True}, 200),
    ("reranker", "post", "/rerank", {"query": "tide", "texts": ["tide", "sea"], "return_text": True}, 200),
    ("reranker", "get", "/info", None, 200),
    ("classifier", "post", "/predict", {"inputs": "tide"}, 200),
    ("classifier", "post", "/predict", {"inputs": [["tide"], ["sea"]], "raw_scores": True}, 200),
    ("t5", "post", "/generate", {"inputs": "tide", "parameters": {"max_new_tokens": 4, "details": True}}, 200),
    ("t5", "post", "/translate", {"text": ["tide", "sea"], "source": "en", "target": "de", "num_beams": 2}, 200),
    ("t5", "post", "/v1/completions", {"prompt": "tide", "max_tokens": 4}, 200),
]

# The structs that read the bodies: their fields are the properties of the schemas. A struct that another one has in it
# is named behind it.
REQUESTS = {
    "Sampling": ["openai/generation/options.rs Options"],
    "EmbeddingRequest": ["openai/embeddings.rs Request"],
    "RerankRequest": ["openai/rerank.rs Request"],
    "EmbedRequest": ["tei/embed.rs Request", "tei/mod.rs Truncation"],
    "TeiRerankRequest": ["tei/rerank.rs Request", "tei/mod.rs Truncation"],
    "PredictRequest": ["tei/predict.rs Request", "tei/mod.rs Truncation"],
    "TokenizeRequest": ["tei/tokenize.rs Request"],
}

# The proxy reads it from every body; workers of text-embeddings-inference's routes do not.
ROUTING = {"model"}

SERVED = {
    "reranker": "families/bert-cross-encoder",
    "classifier": "families/distilbert-classifier",
    "t5": "seq2seq/t5",
}


def validator(schema):
    return jsonschema.Draft202012Validator({**schema, "components": SPEC["components"]})


def fields_of(file, struct):
    """The names in JSON; a field that is another struct's fields has none of its own."""
    text = (ROOT / "worker/src/api" / file).read_text()
    body = re.search(rf"struct {struct} {{\n(.*?)\n}}", text, re.DOTALL)[1]
    body = re.sub(r"#\[serde\(flatten\)\]\n[^\n]*", "", body)
    return set(re.findall(r"^ +(?:pub )?(\w+): ", body, re.MULTILINE))


def resolved(part):
    return SPEC["components"]["responses"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part


class OpenApi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        binaries = Path(os.environ["TIDEGATE_BIN"])
        cls.machine = Machine(binaries, sys.executable, binaries.parent)
        cls.addClassCleanup(cls.machine.close)
        directory = cls.machine.checkout("openapi")
        cls.urls = {"up": f"http://127.0.0.1:{cls.machine.ports[8080]}"}
        up = ["tidegate-scaler", "up", "--config", "configs/up.toml", "--config", "configs/up-chat.toml"]
        cls.start([binaries / up[0], *up[1:]], directory, "up", "/readyz")
        for (name, model), port in zip(SERVED.items(), free_ports(len(SERVED))):
            cls.urls[name] = f"http://127.0.0.1:{port}"
            model = ROOT / "tests/fixtures" / model
            cls.start([binaries / "tidegate-worker", "serve", "--model", model, "--listen", f"127.0.0.1:{port}"],
                      directory, name, "/readyz")

    @classmethod
    def start(cls, words, directory, name, path):
        failed = cls.machine.start([str(word) for word in words], directory, cls.urls[name] + path)
        if failed is not None:
            raise AssertionError(f"{name} does not start: {failed}")

    def test_it_is_valid(self):
        validate(SPEC)

    def test_it_has_the_routes_of_the_proxy(self):
        described = {(method, path) for path, item in SPEC["paths"].items() for method in item if method != "parameters"}
        routes = tomllib.loads((ROOT / "configs/proxy.toml").read_text())["routes"]
        served = {("get", route.removeprefix("GET ")) if route.startswith("GET ") else ("post", route) for route in routes}
        missing = served - described - NOT_DESCRIBED
        self.assertFalse(missing, f"docs/openapi.yaml lacks {missing}")
        known = served | {("get", "/v1/models"), ("get", "/v1/models/{model}"), ("get", "/readyz")}
        invented = {route for route in described - known if not route[1].startswith(("/v1/files", "/v1/batches"))}
        self.assertFalse(invented, f"docs/openapi.yaml has {invented}, which configs/proxy.toml does not forward")

    def test_requests_have_the_fields_that_are_read(self):
        for schema, structs in REQUESTS.items():
            with self.subTest(schema):
                read = set().union(*(fields_of(*struct.split()) for struct in structs))
                described = set(SPEC["components"]["schemas"][schema]["properties"])
                self.assertEqual(described - ROUTING, read - ROUTING)

    def test_every_route_answers_as_described(self):
        for server, method, path, body, status in CASES:
            with self.subTest(f"{server} {method} {path} {status}"):
                self.check(server, method, path, body, status)

    def test_every_route_has_a_case(self):
        asked = {(method, path) for _, method, path, _, _ in CASES}
        # The generated client calls those of files and batches; a stream has no schema.
        left_out = {(method, path) for path, item in SPEC["paths"].items() for method in item
                    if method != "parameters" and not path.startswith(("/v1/files", "/v1/batches"))
                    and path != "/generate_stream"} - asked
        self.assertFalse(left_out)

    def check(self, server, method, path, body, status):
        operation = SPEC["paths"][path][method]
        if body is not None and status == 200:
            validator(operation["requestBody"]["content"]["application/json"]["schema"]).validate(body)
        found, answer = self.ask(server, method, path.replace("{model}", "all-MiniLM-L6-v2"), body)
        self.assertEqual(found, status, answer)
        response = resolved(operation["responses"].get(str(status)) or operation["responses"]["default"])
        validator(response["content"]["application/json"]["schema"]).validate(answer)

    def ask(self, server, method, path, body):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.urls[server] + path, data, {"content-type": "application/json"},
                                         method=method.upper())
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.load(refusal)

    def test_a_generated_client_works(self):
        directory = self.machine.root / "generated"
        directory.mkdir()
        (directory / "config.yaml").write_text("post_hooks: []\n")
        made = subprocess.run(
            [Path(sys.executable).parent / "openapi-python-client", "generate", "--path", PAGE, "--meta", "none",
             "--config", "config.yaml", "--output-path", "tidegate_client"],
            cwd=directory, capture_output=True, text=True,
        )
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
        self.assertNotIn("Warning", made.stdout + made.stderr)
        (directory / "lines.jsonl").write_text(json.dumps(LINE) + "\n")
        used = subprocess.run(
            [sys.executable, ROOT / "tests/documents/generated_client.py", self.urls["up"], "lines.jsonl"],
            cwd=directory, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(directory)},
        )
        self.assertEqual(used.returncode, 0, used.stdout + used.stderr)


if __name__ == "__main__":
    unittest.main()
