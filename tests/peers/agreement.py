"""How often the greedy answers of two programs are those of the exact model.

    agreement.py --model FILE.gguf --worker tidegate-worker --llama llama-completion

The exact model is transformers in f32 with the weights of the same file, dequantized. Both programs round
the inputs of each product to eight bits, each in its own way, so that where two tokens are nearly as likely
each takes its own; from there on the answers are different texts. It needs the packages of requirements.txt
and accelerate.
"""

import argparse
import json
import pathlib
import subprocess
import time
import urllib.error
import urllib.request

import torch
import transformers

TOKENS = 48
ADDRESS = "127.0.0.1:18099"
PROMPTS = [
    "The capital of France is", "Water boils at a temperature of", "Once upon a time there was a",
    "The three primary colours are", "In 1969, the first human", "To make bread you need", "The opposite of hot is",
    "A triangle has three", "The largest planet in the solar system is", "Dogs are animals that",
    "def add(a, b):\n    return", "The sun rises in the", "My favourite season is spring because",
    "The quick brown fox", "Photosynthesis is the process by which", "The United Nations was founded in",
    "If it rains tomorrow, we will", "The heart pumps blood through", "Shakespeare wrote many plays, such as",
    "A good night's sleep helps",
]


def exact(model):
    """Answers of the dequantized weights, in f32."""
    place = dict(pretrained_model_name_or_path=model.parent, gguf_file=model.name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(**place)
    network = transformers.AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32).eval()
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        made = network.generate(ids, do_sample=False, min_new_tokens=TOKENS, max_new_tokens=TOKENS,
                                pad_token_id=tokenizer.eos_token_id)
        yield tokenizer.decode(made[0, ids.shape[1]:])


def llama(program, model):
    for prompt in PROMPTS:
        options = f"-n {TOKENS} --temp 0 -t 2 -no-cnv --no-display-prompt --ignore-eos --simple-io".split()
        command = [program, "-m", model, "-p", prompt, *options]
        yield subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True).stdout


def served(program, model):
    command = [program, "serve", "--model", model, "--name", "m", "--listen", ADDRESS]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://{ADDRESS}/readyz")
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        for prompt in PROMPTS:
            body = dict(model="m", prompt=prompt, max_tokens=TOKENS, temperature=0, ignore_eos=True)
            request = urllib.request.Request(
                f"http://{ADDRESS}/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"})
            yield json.load(urllib.request.urlopen(request))["choices"][0]["text"]
    finally:
        worker.terminate()
        worker.wait()


def kept(one, other):
    """The share of a text before the first letter that differs."""
    one, other = one.strip(), other.strip()
    most = min(len(one), len(other))
    return next((at / most for at in range(most) if one[at] != other[at]), 1.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ("--model", "--worker", "--llama"):
        parser.add_argument(option, type=pathlib.Path, required=True)
    options = parser.parse_args()
    answers = {
        "exact": list(exact(options.model)),
        "llama.cpp": list(llama(options.llama, options.model)),
        "tidegate": list(served(options.worker, options.model)),
    }
    for one, other in (("exact", "llama.cpp"), ("exact", "tidegate"), ("llama.cpp", "tidegate")):
        shares = [kept(*pair) for pair in zip(answers[one], answers[other])]
        equal, mean = sum(share == 1 for share in shares), sum(shares) / len(shares)
        print(f"{one} and {other}: {equal} of {len(shares)} equal, {mean:.1%} of a text before it differs")


if __name__ == "__main__":
    main()
