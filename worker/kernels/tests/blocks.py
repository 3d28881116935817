"""Writes blocks.txt: random blocks of each type of GGUF and the weights that the `gguf` package
(pip install gguf numpy) reads from them. One line a type: name, the bytes, the weights' f32 bits.

And encoded.txt: random weights and the blocks that the package makes of them, in the same form."""

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

# Where the half-precision fields of a block are.
HALVES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
BYTES = {"F16": 2, "BF16": 2, "Q8_0": 34, "Q4_0": 18, "Q4_1": 20, "Q5_0": 22, "Q5_1": 24,
         "Q4_K": 144, "Q5_K": 176, "Q6_K": 210}

random = np.random.default_rng(1)
with open("blocks.txt", "w") as out:
    for name, size in BYTES.items():
        per_block = {2: 1}.get(size, 256 if "K" in name else 32)
        blocks = random.integers(0, 256, (256 // per_block, size), dtype=np.uint8)
        halves = HALVES.get(name, [0])
        for at in halves:
            values = random.normal(size=len(blocks)) * 0.01
            if name == "BF16":
                fields = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
            else:
                fields = values.astype(np.float16).view(np.uint16)
            blocks[:, at:at + 2] = fields.reshape(-1, 1).view(np.uint8)
        weights = dequantize(blocks.reshape(1, -1), Type[name]).astype(np.float32)
        print(name, blocks.tobytes().hex(), weights.tobytes().hex(), file=out)

with open("encoded.txt", "w") as out:
    weights = (random.normal(size=(1, 256)) * 0.02).astype(np.float32)
    # A block of zeros, one of a single weight, and one of equal weights.
    weights[0, :32], weights[0, 32:64], weights[0, 64:96] = 0, np.eye(1, 32, 5) * -0.3, 0.25
    for name in ["F16", "Q8_0", "Q4_0", "Q4_1"]:
        print(name, quantize(weights, Type[name]).tobytes().hex(), weights.tobytes().hex(), file=out)
