"""Writes a decoder of Qwen2-0.5B's shape with random weights, in half precision, as one GGUF file.

    decoder.py --out FILE

llama.cpp's llama-quantize makes the files that are measured from it. The vocabulary has as many entries as
Qwen2's: the bytes, and made-up words that no text reaches.
"""

import argparse

import gguf
import numpy

WIDTH, HEADS, KV_HEADS, INNER, LAYERS, VOCABULARY = 896, 14, 2, 4864, 24, 151936
END = VOCABULARY - 1


def byte_characters():
    """The characters that stand for bytes in a byte-level vocabulary (Radford et al., 2019)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(256 + i) for i in range(len(others))]


def write_settings(writer):
    writer.add_context_length(32768)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)


def write_vocabulary(writer):
    tokens = byte_characters() + ["wo"]
    tokens += [f"word{n}" for n in range(len(tokens), END)] + ["<|endoftext|>"]
    types = [gguf.TokenType.NORMAL] * END + [gguf.TokenType.CONTROL]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    # A file without merges is refused by llama.cpp.
    writer.add_token_merges(["w o"])
    writer.add_eos_token_id(END)


def write_tensors(writer):
    drawn = numpy.random.default_rng(0)

    def matrix(name, rows, columns):
        weights = drawn.standard_normal((rows, columns), dtype=numpy.float32) * 0.02
        writer.add_tensor(f"{name}.weight", weights.astype(numpy.float16))

    def vector(name, values):
        writer.add_tensor(name, numpy.asarray(values, dtype=numpy.float32))

    matrix("token_embd", VOCABULARY, WIDTH)
    keys = WIDTH // HEADS * KV_HEADS
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        vector(f"{block}.attn_norm.weight", numpy.ones(WIDTH))
        vector(f"{block}.ffn_norm.weight", numpy.ones(WIDTH))
        for name, rows in (("attn_q", WIDTH), ("attn_k", keys), ("attn_v", keys)):
            matrix(f"{block}.{name}", rows, WIDTH)
            vector(f"{block}.{name}.bias", numpy.zeros(rows))
        matrix(f"{block}.attn_output", WIDTH, WIDTH)
        matrix(f"{block}.ffn_gate", INNER, WIDTH)
        matrix(f"{block}.ffn_up", INNER, WIDTH)
        matrix(f"{block}.ffn_down", WIDTH, INNER)
    vector("output_norm.weight", numpy.ones(WIDTH))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True)
    writer = gguf.GGUFWriter(parser.parse_args().out, "qwen2")
    write_settings(writer)
    write_vocabulary(writer)
    write_tensors(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
