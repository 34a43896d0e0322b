"""只量因果注意力：前向加反向，随序列长度怎样变，占多少内存。

流入：序列长度；流出：各种写法的用时与多占的内存。形状是 GPT-2 small 的一层：批 2、12 个头、每头 64。
``processes`` 照训练引擎的办法把批次分给几个单线程的进程，其余的在一个进程里用各自的线程；
``recompute`` 不留权重，反向重算。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks import report
from benchmarks.compare import compare
from benchmarks.options import Options, unknown
from benchmarks.processes import System
from tinygrad_llm.common.progress import format_bytes

REFERENCE = "torch SDPA"
BATCH, HEADS, SIZE = 2, 12, 64
ERROR_BOUND = 1e-4


def _sdpa(m: Any, q: Any, k: Any, v: Any) -> Any:
    return m.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def _by_hand(m: Any, q: Any, k: Any, v: Any) -> Any:
    """教科书的写法：整张 T×T 的分数，遮住未来，softmax，加权求和。"""
    length = q.shape[-2]
    future = m.ones(length, length, dtype=m.bool).triu(1)
    scores = (q @ k.transpose(-2, -1) * (1 / SIZE**0.5)).masked_fill(future, float("-inf"))
    return scores.softmax(-1) @ v


def _recompute(m: Any, q: Any, k: Any, v: Any) -> Any:
    from tinygrad_llm.autograd.graph import apply
    from tinygrad_llm.ops.attention import attention

    return apply(attention, (q, k, v), {"is_causal": True, "scale": 1 / SIZE**0.5, "recompute": True})


class Variant(NamedTuple):
    """一种写法。

    Attributes:
        library: 引擎的模块名。
        attend: ``(引擎, q, k, v)`` 到输出。
        is_split: 批次分给几个单线程的进程，还是在一个进程里用它自己的线程。
    """

    library: str
    attend: Callable[[Any, Any, Any, Any], Any]
    is_split: bool = False


VARIANTS = {
    "numpy": Variant("tinygrad_llm", _sdpa),
    "numpy processes": Variant("tinygrad_llm", _sdpa, is_split=True),
    "numpy recompute": Variant("tinygrad_llm", _recompute),
    "numpy by hand": Variant("tinygrad_llm", _by_hand),
    "torch SDPA": Variant("torch", _sdpa),
    "torch by hand": Variant("torch", _by_hand),
}
"""名字到写法。"""


@dataclass(frozen=True)
class AttentionOptions(Options):
    """注意力的测速。"""

    lengths: tuple[int, ...] | None = None
    """序列长度；缺省 256 到 4096 逐次加倍，``--quick`` 时到 1024。"""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """要量哪些写法。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        wrong = [f"--lengths must be at least 1, got {one}" for one in self.lengths or () if one < 1]
        return [*super().problems(), *wrong, *unknown("variants", self.variants, VARIANTS)]


# ---- 子进程 ----


@contextmanager
def job(settings: dict[str, Any]) -> Iterator[Callable[[int], dict[str, Any]]]:
    """一次前向加反向；带回一个指纹，供核对各种写法算的是同一件事。"""
    library, attend, _ = VARIANTS[settings["variant"]]
    if library == "torch":
        import torch as m
    else:
        import tinygrad_llm as m  # type: ignore[no-redef]
        from tinygrad_llm.memory import keep_freed_memory

        keep_freed_memory()
    rng = np.random.default_rng(0)
    shape = (BATCH, HEADS, settings["length"], SIZE)
    mine = np.array_split(range(BATCH), settings["parts"])[settings["part"]]
    arrays = [rng.standard_normal(shape, np.float32)[mine] for _ in range(4)]
    q, k, v = (m.from_numpy(array).requires_grad_() for array in arrays[:3])
    weights = m.from_numpy(arrays[3])

    def once(index: int) -> dict[str, Any]:
        for x in (q, k, v):
            x.grad = None
        y = attend(m, q, k, v)
        y.backward(weights)
        return {"sums": [float(abs(np.asarray(x.grad)[0]).sum()) for x in (q, k, v)]}

    yield once


# ---- 主进程 ----


def system(variant: str, length: int, options: Options) -> System:
    """一种写法在一种长度上。"""
    parts = min(options.core_count, BATCH) if VARIANTS[variant].is_split else 1
    settings = {"variant": variant, "length": length, "cores": options.cores, "threads": 1 if parts > 1 else None}
    return System(variant, "attention", settings, processes=parts)


def same_gradients(found: list[dict[str, Any]], reference: list[dict[str, Any]]) -> str | None:
    """梯度的绝对值之和与参照差得多，算的就不是同一件事。"""
    pairs = zip(found[0]["sums"], reference[0]["sums"], strict=True)
    apart = max(abs(a / b - 1) for a, b in pairs)
    return f"its gradients differ from {REFERENCE}'s by {apart:.2g}" if not apart <= ERROR_BOUND else None


def measure(options: AttentionOptions) -> list[dict[str, Any]]:
    """各种长度依次来。"""
    lengths = options.lengths or ((256, 512, 1024) if options.quick else (256, 512, 1024, 2048, 4096))
    results = []
    for length in lengths:
        systems = [system(variant, length, options) for variant in options.variants]
        found = compare(systems, options.plan, REFERENCE, warmup=options.warmup, check=same_gradients)
        results.append({"length": length, **found})
    return results


def text(results: list[dict[str, Any]]) -> str:
    """一张表：每种长度、每种写法一行，最后一列是与前一种长度之比。"""
    rows = []
    for i, one in enumerate(results):
        before = results[i - 1]["systems"] if i else {}
        for name, found in one["systems"].items():
            rows.append(_row(f"T {one['length']} {name}", found, before.get(name)))
        rows += [[f"T {one['length']} {name}: {reason}", *[""] * 5] for name, reason in one["unavailable"].items()]
    head = ["length, variant", "median", f"x {REFERENCE}", "added memory", "x previous length", "turns"]
    return report.table(head, rows)


def _row(label: str, found: dict[str, Any], before: dict[str, Any] | None) -> list[str]:
    return [
        label + "*" * found["noisy"],
        report.milliseconds(found["median_s"]),
        report.times(found["ratio"], noisy=found["noisy"]),
        format_bytes(max(found["peak_memory_bytes"] - found["baseline_memory_bytes"], 0)),
        report.times(found["median_s"] / before["median_s"] if before else None),
        report.turns(found),
    ]


def main(options: AttentionOptions) -> None:
    """``python -m benchmarks attention``。"""
    results = measure(options)
    print(f"{text(results)}\n\n{report.CAVEATS}")
    report.publish(report.document("attention", options, results), options)
