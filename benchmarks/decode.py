"""贪心生成的速度：GPT-2 small、批大小 1、带 KV 缓存，旁边是内存带宽给出的上限。

流入：要生成的 token 数；流出：每个 token 多少毫秒。每生成一个 token，全部权重要从内存读一遍，所以再快也快不过
带宽除以权重的大小；带宽由几个进程同时做大向量的内积量出。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.compare import compare
from benchmarks.options import Options, unknown
from benchmarks.processes import System
from benchmarks.sizes import SIZES, sized
from tinygrad_llm.common.config import PRESETS, GPTConfig, parameter_shapes
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.progress import format_bytes

REFERENCE = "torch"
ENGINES = ("numpy", "torch")
PROMPT = 16
BANDWIDTH_BYTES = 1 << 28
"""量带宽时每个进程读这么多：远大于缓存。"""


@dataclass(frozen=True)
class DecodeOptions(Options):
    """生成的测速。"""

    size: str = "M"
    """规模：T、S、M，或模型预设名。"""
    tokens: int = 8
    """每一回生成几个 token。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        found = [*super().problems(), *unknown("size", (self.size,), (*SIZES, *PRESETS))]
        return found + ([f"--tokens must be at least 1, got {self.tokens}"] if self.tokens < 1 else [])


# ---- 子进程 ----


@contextmanager
def job(settings: dict[str, Any]) -> Iterator[Callable[[int], dict[str, Any]]]:
    """生成若干个 token，或者把一段内存读一遍。"""
    yield _bandwidth(settings) if settings["engine"] == "bandwidth" else _decoding(settings)


def _decoding(settings: dict[str, Any]) -> Callable[[int], dict[str, Any]]:
    model = GPTConfig.from_dict(settings["model"])
    weights = initial_weights(model, 0)
    if settings["engine"] == "numpy":
        from tinygrad_llm.decoding import NumpyDecoder
        from tinygrad_llm.train import build_model

        decoder: Any = NumpyDecoder(build_model(model, weights))
    else:
        from torch_llm.engine import TorchDecoder
        from torch_llm.loop import build_model as build_torch_model

        decoder = TorchDecoder(build_torch_model(model, weights))
    del weights
    prompt = np.random.default_rng(0).integers(model.vocab_size, size=PROMPT)
    used, token = model.context, 0

    def once(index: int) -> dict[str, Any]:
        nonlocal used, token
        if used + settings["tokens"] > model.context:  # 用满了，从头再来
            decoder.reset()
            token, used = int(decoder.feed(prompt).argmax()), PROMPT
        chosen = []
        for _ in range(settings["tokens"]):
            token = int(decoder.feed(np.array([token])).argmax())
            chosen.append(token)
        used += settings["tokens"]
        return {"tokens": chosen}

    return once


def _bandwidth(settings: dict[str, Any]) -> Callable[[int], dict[str, Any]]:
    x = np.random.default_rng(0).random(BANDWIDTH_BYTES // 8, np.float32)
    y = x.copy()

    def once(index: int) -> dict[str, Any]:
        return {"dot": float(np.dot(x, y))}

    return once


# ---- 主进程 ----


def same_tokens(found: list[dict[str, Any]], reference: list[dict[str, Any]]) -> str | None:
    """头几个 token 与参照不同，做的就不是同一件事。"""
    mine, other = ([one["tokens"] for one in answers] for answers in (found, reference))
    return None if mine[0] == other[0] else f"its first tokens {mine[0]} are not {REFERENCE}'s {other[0]}"


def weight_bytes(model: GPTConfig) -> int:
    """生成一个 token 要从内存读的权重；嵌入只读一行，不计（除非输出层与它共用）。"""
    skipped = {"wpe.weight"} | (set() if model.tie_head else {"wte.weight"})
    shapes = parameter_shapes(model)
    return 4 * sum(int(np.prod(shape)) for name, shape in shapes.items() if name not in skipped)


def measure(options: DecodeOptions) -> dict[str, Any]:
    """两个引擎交替着量，再量带宽。"""
    model, _ = sized(options.size)
    settings = {"model": model.to_dict(), "tokens": options.tokens, "cores": options.cores}
    systems = [System(name, "decode", {**settings, "engine": name}) for name in ENGINES]
    found = compare(systems, options.plan, REFERENCE, warmup=options.warmup, check=same_tokens)
    for one in found["systems"].values():
        one["token_s"] = one["median_s"] / options.tokens
        one["tokens_per_s"] = options.tokens / one["median_s"]
    cores = options.core_count
    reader = System("bandwidth", "decode", {"engine": "bandwidth", "cores": None, "threads": 1}, processes=cores)
    read = compare([reader], options.plan, reader.name, warmup=options.warmup)["systems"][reader.name]
    rate = cores * BANDWIDTH_BYTES / read["median_s"]
    bound = {"read_bytes_per_s": rate, "weight_bytes": weight_bytes(model), "noisy": read["noisy"]}
    return {"size": options.size, "bound": {**bound, "tokens_per_s": rate / bound["weight_bytes"]}, **found}


def text(result: dict[str, Any]) -> str:
    """一张表与带宽的上限。"""
    bound = result["bound"]
    rows = [
        [
            name + "*" * found["noisy"], report.milliseconds(found["token_s"]), f"{found['tokens_per_s']:.3g}",
            report.times(found["ratio"], noisy=found["noisy"]), f"{found['tokens_per_s'] / bound['tokens_per_s']:.0%}",
            format_bytes(found["peak_memory_bytes"]), report.turns(found),
        ]
        for name, found in result["systems"].items()
    ]  # fmt: skip
    head = [f"decode {result['size']}", "per token", "tokens/s", "x torch", "of the bound", "peak memory", "turns"]
    lines = [report.table(head, rows), *(f"{name}: {why}" for name, why in result["unavailable"].items())]
    weights, rate = format_bytes(bound["weight_bytes"]), format_bytes(bound["read_bytes_per_s"])
    noisy = " (noisy)" * bound["noisy"]
    lines.append(
        f"bound: {weights} of weights per token, read at {rate}/s{noisy}: {bound['tokens_per_s']:.3g} tokens/s"
    )
    return "\n".join(lines)


def main(options: DecodeOptions) -> None:
    """``python -m benchmarks decode``。"""
    result = measure(options)
    print(f"{text(result)}\n\n{report.CAVEATS}")
    report.publish(report.document("decode", options, result), options)
