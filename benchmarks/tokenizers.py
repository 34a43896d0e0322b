"""分词器的速度：训练器与编码器，旁边是 HF ``tokenizers``、``rustbpe``、tiktoken 与每次合并都重数一遍的朴素写法。

流入：语料；流出：各要多少秒、每秒多少 MB。各系统在同样的文本上用同样的切法；学到的 token 与编码的 id 当场核对：学得
不同的列出相同的比例，编得不同的不量。朴素的训练要慢几百倍，所以另有一段短文本上的对照。
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.compare import compare
from benchmarks.options import Options, too_small
from benchmarks.processes import System
from tinygrad_llm.common.corpora import load_corpus
from tinygrad_llm.common.progress import format_bytes
from tinygrad_llm.common.tokenizers import Tokenizer, train_bpe
from tinygrad_llm.common.tokenizers.split import pretokenize

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
GPT2_FAST = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
TRAINERS = ("ours", "tokenizers", "rustbpe")
ENCODERS = ("tiktoken", "ours", "ours, readable", "tokenizers")  # rustbpe 只能用它自己学到的合并编码
SHORT_CHARS, SHORT_VOCAB = 100_000, 512
"""朴素的写法量得动的规模。"""


@dataclass(frozen=True)
class TokenizerOptions(Options):
    """分词器的测速。"""

    corpus: str = "python-source"
    """语料名或路径。"""
    vocab_sizes: tuple[int, ...] = (4096,)
    """训练到这些词表大小；编码用第一个。"""
    max_chars: int | None = None
    """只取开头这么多字符；缺省全取，``--quick`` 时一百万。"""
    cores: int | None = 1
    """每个系统用几个核。"""
    peer_python: Path | None = None
    """装有 rustbpe 的解释器；缺省就用这一个。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        found = [*super().problems(), *too_small(self, {"max_chars": 1000})]
        return found + [f"--vocab-sizes {size}: at least 300" for size in self.vocab_sizes if size < 300]


# ---- 子进程 ----


@contextmanager
def job(settings: dict[str, Any]) -> Iterator[Callable[[int], dict[str, Any]]]:
    """训练一遍，或者把文本编码一遍。"""
    text = load_corpus(settings["corpus"]).text[: settings["chars"]]
    kind, name = settings["kind"], settings["name"]
    if kind == "train":
        run = {"ours": _ours, "tokenizers": _hf, "rustbpe": _rustbpe, "naive": _naive}[name]

        def once(index: int) -> dict[str, Any]:
            tokens = run(text, settings["vocab_size"])
            return {"tokens": [token.hex() for token in tokens]} if index == 0 else {}
    else:
        encode = _encoder(name, train_bpe(text[: settings["train_chars"]], settings["vocab_size"], []))

        def once(index: int) -> dict[str, Any]:
            ids = encode(text)
            return {"ids": len(ids), "sha256": _digest(ids)} if index == 0 else {}

    yield once


def _digest(ids: list[int]) -> str:
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def _ours(text: str, vocab_size: int) -> list[bytes]:
    return train_bpe(text, vocab_size, []).symbols[256:]


def _hf(text: str, vocab_size: int) -> list[bytes]:
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    from tinygrad_llm.common.tokenizers.formats_gpt2 import raw_bytes

    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        [text],
        trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False),
    )
    by_id = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    return [raw_bytes(token) or b"" for token, _ in by_id[256:]]


def _rustbpe(text: str, vocab_size: int) -> list[bytes]:
    trained = importlib.import_module("rustbpe").Tokenizer()
    trained.train_from_iterator(iter([text]), vocab_size, pattern=GPT2)
    return [bytes(token) for token, _ in trained.get_mergeable_ranks()[256:]]


def _naive(text: str, vocab_size: int) -> list[bytes]:
    """每次合并都把全部的词重数一遍、重写一遍。"""
    words = [list(chunk.encode()) for chunk in pretokenize(text)]
    tokens = [bytes([byte]) for byte in range(256)]
    while len(tokens) < vocab_size:
        counts = Counter(pair for word in words for pair in pairwise(word))
        left, right = max(counts, key=lambda pair: counts[pair])
        for word in words:
            place = 0
            while place < len(word) - 1:
                if word[place] == left and word[place + 1] == right:
                    word[place : place + 2] = [len(tokens)]
                place += 1
        tokens.append(tokens[left] + tokens[right])
    return tokens[256:]


def _encoder(name: str, tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """同一份词表的几种编码器。"""
    if name == "ours":
        return tokenizer.encode
    if name == "ours, readable":
        return tokenizer.encode_readable
    if name == "tokenizers":
        import tokenizers

        from tinygrad_llm.common.tokenizers.formats_hf import hf_json

        loaded = tokenizers.Tokenizer.from_str(hf_json(tokenizer))
        return lambda text: list(loaded.encode(text).ids)
    import tiktoken

    ranks = {token: rank for rank, token in enumerate(tokenizer.symbols)}
    return tiktoken.Encoding("plain", pat_str=GPT2_FAST, mergeable_ranks=ranks, special_tokens={}).encode_ordinary


# ---- 主进程 ----


def measure(options: TokenizerOptions) -> dict[str, Any]:
    """训练器：整份语料，再加一段短文本；编码器：整份语料。"""
    chars = options.max_chars or (1_000_000 if options.quick else None)
    text = load_corpus(options.corpus).text[:chars]
    shared = {"corpus": options.corpus, "chars": len(text)}
    training = [_trainers(options, shared, TRAINERS, size) for size in options.vocab_sizes]
    short = {**shared, "chars": min(SHORT_CHARS, len(text))}
    training.append(_trainers(options, short, (*TRAINERS, "naive"), SHORT_VOCAB))
    settings = {**shared, "vocab_size": options.vocab_sizes[0], "train_chars": 3_000_000}
    systems = [_system(options, "encode", name, settings) for name in ENCODERS]
    encoding = compare(systems, options.plan, "tiktoken", warmup=1, check=_same_ids)
    size = len(text.encode())
    for found in encoding["systems"].values():
        found["bytes_per_s"] = size / found["median_s"]
        found["speed_of_tiktoken"] = 1 / found["ratio"]
    return {"bytes": size, "training": training, "encoding": encoding}


def _system(options: TokenizerOptions, kind: str, name: str, settings: dict[str, Any]) -> System:
    own = {**settings, "kind": kind, "name": name, "cores": options.cores}
    threads = {} if options.cores is None else dict.fromkeys(("RAYON_NUM_THREADS",), str(options.cores))
    python = str(options.peer_python) if options.peer_python and name == "rustbpe" else sys.executable
    return System(name, "tokenizers", own, environment=threads, python=python)


def _trainers(
    options: TokenizerOptions, shared: dict[str, Any], names: tuple[str, ...], vocab_size: int
) -> dict[str, Any]:
    settings = {**shared, "vocab_size": vocab_size}
    systems = [_system(options, "train", name, settings) for name in names]
    found = compare(systems, options.plan, "ours", warmup=1)
    tokens = {name: one["warmup"][0].pop("tokens") for name, one in found["systems"].items()}
    for name, one in found["systems"].items():
        one["chars_per_s"] = shared["chars"] / one["median_s"]
        one["is_identical"] = tokens[name] == tokens["ours"]
        one["shared_tokens"] = len(set(tokens[name]) & set(tokens["ours"])) / len(tokens["ours"])
    return {"chars": shared["chars"], "vocab_size": vocab_size, **found}


def _same_ids(found: list[dict[str, Any]], reference: list[dict[str, Any]]) -> str | None:
    """编出的 id 与 tiktoken 不同，比速度就没有意义。"""
    same = found[0]["sha256"] == reference[0]["sha256"]
    return None if same else f"its {found[0]['ids']} ids are not tiktoken's {reference[0]['ids']}"


def text(result: dict[str, Any]) -> str:
    """各张表。"""
    parts = []
    for one in result["training"]:
        head = [f"train to {one['vocab_size']:,} on {one['chars']:,} chars", "median", "x ours", "same tokens",
                "peak memory", "turns"]  # fmt: skip
        rows = [
            [name + "*" * found["noisy"], report.milliseconds(found["median_s"]),
             report.times(found["ratio"], noisy=found["noisy"]),
             "all, in order" if found["is_identical"] else f"{found['shared_tokens']:.1%}",
             format_bytes(found["peak_memory_bytes"]), report.turns(found)]
            for name, found in one["systems"].items()
        ]  # fmt: skip
        parts.append(report.table(head, rows))
        parts += [f"{name}: {why}" for name, why in one["unavailable"].items()]
    encoding = result["encoding"]
    rows = [
        [name + "*" * found["noisy"], report.milliseconds(found["median_s"]), f"{found['bytes_per_s'] / 1e6:.3g}",
         f"{found['speed_of_tiktoken']:.0%}", format_bytes(found["peak_memory_bytes"]), report.turns(found)]
        for name, found in encoding["systems"].items()
    ]  # fmt: skip
    head = [f"encode {format_bytes(result['bytes'])}", "median", "MB/s", "of tiktoken", "peak memory", "turns"]
    parts.append(report.table(head, rows))
    parts += [f"{name}: {why}" for name, why in encoding["unavailable"].items()]
    return "\n\n".join(parts)


def main(options: TokenizerOptions) -> None:
    """``python -m benchmarks tokenizers``。"""
    result = measure(options)
    print(f"{text(result)}\n\n{report.CAVEATS}")
    report.publish(report.document("tokenizers", options, result), options)
