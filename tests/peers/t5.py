"""Measures CTranslate2's int8 on a T5 of T5-small's shape, and prints JSON: tokens written a second.

    t5.py --model DIR --make              # random weights, a vocabulary of numbers, inputs.json: once
    t5.py --model DIR --cache DIR --threads 2 --seconds 3

Each input has 64 tokens, and each text goes on for 64, greedily, whatever its tokens are. One text at a
time, and eight together; of one worker with all threads and one worker a thread the faster is taken. The
same is measured of ours by

    tidegate-worker quantize --model DIR --out FILE
    tidegate-worker bench --model FILE --inputs DIR/inputs.json --write 64 --threads 2
"""

import argparse
import json
import pathlib
import random
import time

WORDS, TOKENS, INPUTS = 32000, 64, 16


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--cache", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    return parser.parse_args()


def make(directory):
    """As the hub would hold it."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=32128, d_model=512, d_kv=64, num_heads=8, d_ff=2048, num_layers=6, num_decoder_layers=6,
        feed_forward_proj="relu", pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
    transformers.T5ForConditionalGeneration(config).save_pretrained(directory)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)] + [(f"▁{n}", -2.0) for n in range(WORDS)]
    fast = Tokenizer(models.Unigram(pieces, unk_id=2))
    fast.add_special_tokens(["<pad>", "</s>", "<unk>"])
    fast.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    fast.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    fast.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast.save(str(directory / "tokenizer.json"))
    settings = dict(tokenizer_class="PreTrainedTokenizerFast", eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    drawn = random.Random(0)
    texts = [" ".join(str(drawn.randrange(WORDS)) for _ in range(TOKENS - 1)) for _ in range(INPUTS)]
    assert all(len(fast.encode(text).ids) == TOKENS for text in texts)
    (directory / "inputs.json").write_text(json.dumps(texts))


def convert(model, cache):
    import ctranslate2

    out = cache / "t5-int8"
    if not out.exists():
        ctranslate2.converters.TransformersConverter(str(model)).convert(str(out), quantization="int8")
    return out


def rate(translator, sources, batch, seconds):
    """Tokens written a second; batches are given at once, so that all workers have some."""
    def run():
        results = translator.translate_batch(
            sources, beam_size=1, max_batch_size=batch, min_decoding_length=TOKENS, max_decoding_length=TOKENS)
        assert all(len(result.hypotheses[0]) == TOKENS for result in results)

    run()
    begun, written = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        run()
        written += TOKENS * len(sources)
    return written / (time.perf_counter() - begun)


def measure(model, cache, threads, seconds):
    import ctranslate2

    directory, pieces = convert(model, cache), [f"▁{word}" for word in range(WORDS)]
    texts = json.loads((model / "inputs.json").read_text())
    sources = [[pieces[int(word)] for word in text.split()] + ["</s>"] for text in texts]
    found = {"peer": f"ctranslate2 {ctranslate2.__version__}", "threads": threads}
    for name, together in (("one", 1), ("eight", 8)):
        rates = {}
        for workers in {1, threads} if together > 1 else {1}:
            translator = ctranslate2.Translator(
                str(directory), device="cpu", compute_type="int8", inter_threads=workers,
                intra_threads=threads // workers)
            few = sources[:together] if together > 1 else sources[:2]
            rates[f"{workers} x {threads // workers}"] = rate(translator, few, together // workers, seconds)
        best = max(rates, key=rates.get)
        found[name] = dict(tokens_per_second=rates[best], settings=best, all=rates)
    print(json.dumps(found))


def main():
    asked = arguments()
    if asked.make:
        make(asked.model)
    else:
        asked.cache.mkdir(parents=True, exist_ok=True)
        measure(asked.model, asked.cache, asked.threads, asked.seconds)


if __name__ == "__main__":
    main()
