"""Measures ONNX Runtime or PyTorch on the inputs that the worker is measured on, and prints JSON.

    peers.py --model DIR --inputs FILE --cache DIR --peer onnxruntime-int8 --threads 2 --rounds 5

DIR holds all-MiniLM-L6-v2 or another BERT as the Hugging Face hub has it; FILE has one text a line.
The ONNX graphs are exported, fused and quantized once and kept in the cache. Every peer runs at the
best settings of a search at the start. Throughput counts real tokens, not padding, from
text to normalised mean-pooled vectors: tokenized, sorted by length, padded to the batch's longest.
Latency is that of one text of 16 or 128 tokens, tokenization not counted.

With --serve it prints one line of JSON when it is ready, then reads lines: each `run` measures one
round and prints one line of JSON.
"""

import argparse
import hashlib
import itertools
import json
import logging
import multiprocessing
import os
import pathlib
import statistics
import sys
import time
import warnings

import numpy as np

BATCHES = [4, 8, 16, 32, 64]
TRIAL_BATCH = 8
# Of engines this close to the fastest the one with the truest vectors is taken, the first of equals:
# one that spins, which answers single texts sooner.
ALIKE = 0.97
LATENCY_TOKENS = [16, 128]
NAMES = ["input_ids", "attention_mask", "token_type_ids"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--inputs", type=pathlib.Path, required=True)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--peer", required=True,
                        choices=["onnxruntime-int8", "onnxruntime-f32", "pytorch-f32"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true")
    return parser.parse_args()


class PyTorch:
    """Eager, in f32, with PyTorch's fused attention."""

    def __init__(self, model, threads):
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self.torch, self.version = torch, torch.__version__
        self.bytes = (model / "model.safetensors").stat().st_size
        self.settings = {"attention": "sdpa", "mode": "eager"}
        self.bert = transformers.AutoModel.from_pretrained(
            model, attn_implementation="sdpa", dtype=torch.float32).eval()

    def hidden(self, inputs):
        with self.torch.inference_mode():
            tensors = {name: self.torch.from_numpy(array) for name, array in inputs.items()}
            return self.bert(**tensors).last_hidden_state.numpy()


class OnnxRuntime:
    """A fused graph on the CPU provider, all of the session's own optimizations on."""

    def __init__(self, graph, threads, spinning):
        import onnxruntime

        self.version, self.bytes = onnxruntime.__version__, graph.stat().st_size
        self.settings = {"graph": graph.stem, "fused": True, "spinning": spinning}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        self.session = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"])

    def hidden(self, inputs):
        return self.session.run(None, inputs)[0]


def export(model, cache):
    """Writes the fused f32 graph and its two quantized forms."""
    import torch
    import transformers
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # The optimizer knows attention by the operators of the eager form.
    bert = transformers.AutoModel.from_pretrained(model, attn_implementation="eager").eval()

    class LastHidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = bert

        def forward(self, *inputs):
            return self.bert(**dict(zip(NAMES, inputs))).last_hidden_state

    ids = torch.randint(1000, 2000, (2, 16))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    plain = cache / "plain.onnx"
    torch.onnx.export(
        LastHidden(), (ids, mask, torch.zeros_like(ids)), str(plain), dynamo=False, opset_version=17,
        input_names=NAMES, output_names=["hidden"],
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in NAMES + ["hidden"]})
    fused = optimizer.optimize_model(
        str(plain), model_type="bert", num_heads=bert.config.num_attention_heads,
        hidden_size=bert.config.hidden_size)
    assert fused.is_fully_optimized(), fused.get_fused_operator_statistics()
    fused.save_model_to_file(str(cache / "f32.onnx"))
    plain.unlink()
    for name, per_channel in [("int8-per-tensor", False), ("int8-per-channel", True)]:
        quantize_dynamic(
            str(cache / "f32.onnx"), str(cache / f"{name}.onnx"), weight_type=QuantType.QInt8,
            per_channel=per_channel, extra_options={"DefaultTensorType": 1})


def reference(model, inputs, threads, path):
    """The vectors of PyTorch in f32."""
    np.save(path, Corpus(model, inputs).embed(PyTorch(model, threads), 16))


def apart(function, *values):
    """Runs it in a process of its own, so that torch's threads are not in the one that measures."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=values)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{function.__name__} failed")


class Corpus:
    def __init__(self, model, inputs):
        from tokenizers import Tokenizer

        self.texts = inputs.read_text(encoding="utf-8").splitlines()
        self.tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self.tokenizer.no_padding()
        limit = model / "sentence_bert_config.json"
        limit = json.loads(limit.read_text())["max_seq_length"] if limit.exists() else 512
        self.tokenizer.enable_truncation(limit)
        encoded = self.encode()
        self.tokens = sum(map(len, encoded))
        words = list(itertools.chain.from_iterable(ids[1:-1] for ids in encoded))
        first, last = encoded[0][0], encoded[0][-1]
        self.single = {n: [first, *words[:n - 2], last] for n in LATENCY_TOKENS}

    def encode(self):
        return [one.ids for one in self.tokenizer.encode_batch(self.texts)]

    def embed(self, engine, batch):
        encoded = self.encode()
        order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i]))
        vectors = [None] * len(order)
        for start in range(0, len(order), batch):
            chosen = order[start:start + batch]
            for i, vector in zip(chosen, pooled(engine, [encoded[i] for i in chosen])):
                vectors[i] = vector
        return np.stack(vectors)


def pooled(engine, rows):
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, :len(row)] = row
        mask[i, :len(row)] = 1
    hidden = engine.hidden(dict(zip(NAMES, (ids, mask, np.zeros_like(ids)))))
    # The sum over real tokens has the direction of their mean.
    summed = np.matmul(mask[:, None, :].astype(np.float32), hidden)[:, 0]
    return summed / np.linalg.norm(summed, axis=1, keepdims=True)


def throughput(corpus, engine, batch):
    start = time.perf_counter()
    corpus.embed(engine, batch)
    return round(corpus.tokens / (time.perf_counter() - start), 1)


def latency(corpus, engine, runs=200, warm_ups=20):
    found = {}
    for tokens, row in corpus.single.items():
        times = []
        for _ in range(warm_ups + runs):
            start = time.perf_counter()
            pooled(engine, [row])
            times.append((time.perf_counter() - start) * 1e3)
        p50, p99 = np.percentile(times[warm_ups:], [50, 99])
        found[str(tokens)] = {"p50": round(p50, 3), "p99": round(p99, 3)}
    return found


def cosines(corpus, engine, batch, expected):
    found = (corpus.embed(engine, batch) * expected).sum(axis=1)
    return {
        "mean": round(float(found.mean()), 6),
        "p1": round(float(np.percentile(found, 1)), 6),
        "min": round(float(found.min()), 6),
    }


def search(corpus, engines, expected):
    """The best engine, its batch size and what was tried: first all engines at one batch size."""
    tried = []

    def trial(engine, batch):
        speed = max(throughput(corpus, engine, batch) for _ in range(4))
        cosine = cosines(corpus, engine, batch, expected)["mean"]
        tried.append({**engine.settings, "batch": batch, "tokens_per_second": speed, "cosine": cosine})
        return speed, cosine

    found = []
    for make in engines:
        engine = make()
        corpus.embed(engine, TRIAL_BATCH)
        found.append((*trial(engine, TRIAL_BATCH), make))
        del engine
    enough = ALIKE * max(speed for speed, _, _ in found)
    *_, make = max((one for one in found if one[0] >= enough), key=lambda one: one[1])
    engine = make()
    corpus.embed(engine, BATCHES[-1])
    batch = max(BATCHES, key=lambda batch: trial(engine, batch)[0])
    return engine, batch, {
        "batch_sizes": BATCHES, "best_batch": batch, "sorted": True, **engine.settings, "tried": tried}


def main():
    args = arguments()
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    weights = hashlib.sha256((args.model / "model.safetensors").read_bytes()).hexdigest()[:16]
    texts = hashlib.sha256(args.inputs.read_bytes()).hexdigest()[:16]
    cache = args.cache / weights
    cache.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(args.model, args.inputs)

    if args.peer == "pytorch-f32":
        pytorch = PyTorch(args.model, args.threads)
        engines = [lambda: pytorch]
    else:
        graphs = {"onnxruntime-f32": ["f32"],
                  "onnxruntime-int8": ["int8-per-tensor", "int8-per-channel"]}[args.peer]
        if not (cache / "int8-per-channel.onnx").exists():
            apart(export, args.model, cache)
        engines = [
            lambda graph=graph, spinning=spinning: OnnxRuntime(
                cache / f"{graph}.onnx", args.threads, spinning)
            for graph in graphs for spinning in (True, False)]
    expected = cache / f"{texts}.npy"
    if not expected.exists():
        apart(reference, args.model, args.inputs, args.threads, expected)
    expected = np.load(expected)

    engine, batch, settings = search(corpus, engines, expected)
    about = {
        "peer": args.peer,
        "version": engine.version,
        "threads": args.threads,
        "settings": settings,
        "texts": len(corpus.texts),
        "tokens": corpus.tokens,
        "cosine": cosines(corpus, engine, batch, expected),
        "model_bytes": engine.bytes,
    }

    if args.serve:
        print(json.dumps(about), flush=True)
        for line in sys.stdin:
            if line.strip() == "run":
                print(json.dumps({
                    "tokens_per_second": throughput(corpus, engine, batch),
                    "latency": latency(corpus, engine),
                }), flush=True)
        return
    rounds = [throughput(corpus, engine, batch) for _ in range(args.rounds)]
    print(json.dumps(about | {
        "rounds": rounds,
        "tokens_per_second": statistics.median(rounds),
        "latency_ms": latency(corpus, engine),
    }))


if __name__ == "__main__":
    main()
