"""``python -m benchmarks [VERB]``：速度与内存的对照；不给动词就全都量一遍。"""

import sys

from tinygrad_llm.common.cli import Verb, main

VERBS = {
    "all": Verb("benchmarks.everything:main", "everything below, one after another (the default)"),
    "step": Verb("benchmarks.step:main", "one training step on every engine, sizes T, S and M"),
    "gemm": Verb("benchmarks.gemm:main", "the matrix products of that step alone: the bound"),
    "attention": Verb("benchmarks.attention:main", "causal attention alone, forward and backward, by length"),
    "decode": Verb("benchmarks.decode:main", "greedy decoding with a KV cache"),
    "serving_decode": Verb(
        "benchmarks.serving_decode:main", "many sequences at once, beside transformers and llama.cpp"
    ),
    "serving_load": Verb(
        "benchmarks.serving_load:main", "the server under load: throughput, latencies, soak, disconnects"
    ),
    "quantization": Verb("benchmarks.quantization:main", "int8 and int4: perplexity, size and speed, beside the bound"),
    "scaling": Verb("benchmarks.scaling:main", "the step against length, batch, layers and cores"),
    "ablation": Verb("benchmarks.ablation:main", "the NumPy step with one technique at a time switched off"),
    "overhead": Verb("benchmarks.overhead:main", "small graphs: time per op"),
    "estimates": Verb("benchmarks.estimates:main", "what --dry-run predicts, beside the run itself: memory and time"),
    "pretrain": Verb("benchmarks.pretrain:main", "the whole loop, beside nanoGPT's train.py from a given path"),
    "loader": Verb("benchmarks.loader:main", "batches from token shards: windows, packed, mixed"),
    "masks": Verb("benchmarks.masks:main", "constrained decoding: the token mask of a grammar, first and later"),
    "tokenizers": Verb("benchmarks.tokenizers:main", "byte-level BPE: trainer and encoder, beside Rust and naive code"),
    "cleaning": Verb("benchmarks.cleaning:main", "cleaning: CPU time of each stage, and how much it finds"),
    "player": Verb(
        "benchmarks.player:main", "recordings: what recording costs; the page: bytes, time to open, steps per second"
    ),
}

if __name__ == "__main__":
    argv = sys.argv[1:]
    bare = not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help"))
    sys.exit(main("python -m benchmarks", "Speed and memory, side by side.", VERBS, ["all", *argv] if bare else argv))
