"""取批次的速度：从内存映射的、已在页缓存里的分片取出 int64 的 x 与 y，每秒多少 token。

流入：token 数与轮数；流出：窗口、打包、混合与一行一行取的朴素写法，各种行长下的速度。界限：每秒五千万 token。
分片由随机的 id 写成，文档长度服从对数正态分布（中位数约 245 个 token）。
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.options import Output, too_small
from tinygrad_llm.common.batches import Mixture, Prefetch, Shuffled, Source, Split, Store, open_store, plan_rows
from tinygrad_llm.common.batches.index import TOKENIZER, Index, dtype_for
from tinygrad_llm.common.batches.writer import SplitWriter, hashed, publish, unfinished_folder
from tinygrad_llm.common.tokenizers import Tokenizer

BOUND_TOKENS_PER_S = 50e6
CONTEXTS = (128, 1024, 4096)
BATCH_TOKENS = 1 << 16
ROUND_STEPS = 10
SHARD_TOKENS = 1 << 24

Batches = Callable[[int], tuple[NDArray[np.int64], NDArray[np.int64]]]


@dataclass(frozen=True)
class LoaderOptions(Output):
    """取批次的速度。"""

    tokens: int | None = None
    """分片里有多少 token；缺省六千四百万，``--quick`` 时八百万。"""
    rounds: int | None = None
    """每种量几轮，每轮接连取十批；取最快的一轮。缺省 40，``--quick`` 时 10。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        return [*super().problems(), *too_small(self, {"tokens": 100_000, "rounds": 1})]

    @property
    def sizes(self) -> tuple[int, int]:
        """token 数与轮数。"""
        return self.tokens or (8_000_000 if self.quick else 64_000_000), self.rounds or (10 if self.quick else 40)


def make_shards(out: Path, tokens: int) -> None:
    """写一个随机的分片文件夹。"""
    rng = np.random.default_rng(0)
    tokenizer = Tokenizer([])
    with unfinished_folder(out) as folder:
        tokenizer.save(folder / TOKENIZER)
        dtype = dtype_for(tokenizer.vocab_size)
        writer = SplitWriter(folder, "train", dtype=dtype, eot=tokenizer.eot, shard_tokens=SHARD_TOKENS)
        ids = rng.integers(0, 256, 1 << 20).astype(np.uint16)
        while writer.tokens < tokens:
            length = min(int(rng.lognormal(5.5, 1.1)) + 1, 1 << 16)
            start = int(rng.integers(0, ids.size - length))
            writer.add(ids[start : start + length], length)
        splits = {"train": writer.close()}
        files = {TOKENIZER: hashed(folder / TOKENIZER), **writer.files}
        index = Index(
            tokenizer.digest, tokenizer.vocab_size, tokenizer.eot, dtype, SHARD_TOKENS, splits, files, "random"
        )
        publish(folder, out, index)


def streams(split: Split, context: int) -> dict[str, Batches]:
    """各种取法：名字到「步号 → 批次」。"""
    rows = BATCH_TOKENS // context
    bos, whole = split.samples("bos", context), split.samples("split", context)
    windows = split.samples("windows", context)
    mixture = Mixture([Source("a", windows, 7), Source("b", bos, 3)], batch_size=rows, seed=0)
    return {
        "windows": Shuffled(windows, batch_size=rows, seed=0).batch,
        "packed, BOS": Shuffled(bos, batch_size=rows, seed=0).batch,
        "packed, split": Shuffled(whole, batch_size=rows, seed=0).batch,
        "mixture 7:3": mixture.batch,
        "row by row": naive(split, context, rows),
    }


def naive(split: Split, context: int, rows: int) -> Batches:
    """一行一行地切片、转换、堆叠；起点随机，不保证每个窗口恰好一次。"""
    part = split.tokens.parts[0]
    rng = np.random.default_rng(0)

    def batch(step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        starts = rng.integers(0, part.size - context - 1, rows).tolist()
        x = np.stack([part[i : i + context].astype(np.int64) for i in starts])
        return x, np.stack([part[i + 1 : i + 1 + context].astype(np.int64) for i in starts])

    return batch


def speed(batch: Batches, rounds: int) -> dict[str, float]:
    """每秒取多少 token：最快的一轮，与各轮的中位数。"""
    found = []
    for turn in range(rounds):
        started_at = time.perf_counter()
        for step in range(turn * ROUND_STEPS, (turn + 1) * ROUND_STEPS):
            batch(step)
        found.append(BATCH_TOKENS * ROUND_STEPS / (time.perf_counter() - started_at))
    return {"tokens_per_s": max(found), "median": statistics.median(found)}


def opening(folder: Path) -> dict[str, float]:
    """打开一个文件夹要多久：第一次逐字节核对，此后只看大小与修改时间；以及给全部文档打包要多久。"""
    times = {}
    for name in ("open_first_s", "open_again_s"):
        started_at = time.perf_counter()
        store: Store = open_store(folder)
        times[name] = time.perf_counter() - started_at
    split = store.split("train")
    started_at = time.perf_counter()
    plan_rows(split.starts, split.lengths, 1024, fill="pad")
    times["plan_s"] = time.perf_counter() - started_at
    return times | {"documents": float(split.starts.size), "bytes": float(2 * split.tokens.size)}


def measure(options: LoaderOptions) -> dict[str, Any]:
    """各种取法、各种行长。"""
    tokens, rounds = options.sizes
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "shards"
        report.tell(f"writing {tokens:,} random tokens")
        make_shards(folder, tokens)
        opened, speeds = opening(folder), dict[str, dict[str, dict[str, float]]]()
        split = open_store(folder).split("train")
        for part in split.tokens.parts:
            part.max()  # 读一遍：此后都在页缓存里
        for context in CONTEXTS:
            found = streams(split, context)
            with Prefetch(found["windows"], range(rounds * ROUND_STEPS)) as ahead:
                found["windows, prefetched"] = lambda step, ahead=ahead: next(ahead)
                for name, batch in found.items():
                    speeds.setdefault(name, {})[str(context)] = speed(batch, rounds)
        del found, split  # Windows 不许删除还映射着的文件
    return {"opening": opened, "bound": BOUND_TOKENS_PER_S, "speeds": speeds}


def text(result: dict[str, Any]) -> str:
    """一张表，与打开、打包的时间。"""
    rows = [
        [name, *(f"{found['tokens_per_s'] / 1e6:.0f}" for found in speeds.values())]
        for name, speeds in result["speeds"].items()
    ]
    head = ["million tokens/s", *(f"T = {context}" for context in CONTEXTS)]
    o = result["opening"]
    return "\n".join(
        [
            report.table(head, rows),
            f"bound: {result['bound'] / 1e6:.0f}; batches of {BATCH_TOKENS:,} tokens, warm page cache, best round",
            f"opening {o['bytes'] / 1e6:.0f} MB: {o['open_first_s']:.2f} s the first time (every byte is hashed), "
            f"{1e3 * o['open_again_s']:.0f} ms after that",
            f"packing {o['documents']:,.0f} documents: {o['plan_s']:.2f} s",
        ]
    )


def main(options: LoaderOptions) -> None:
    """``python -m benchmarks loader``。"""
    result = measure(options)
    print(text(result))
    report.publish(report.document("loader", options, result), options)
