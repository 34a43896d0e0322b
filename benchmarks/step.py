"""一步训练要多久：NumPy、torch、torch.compile 与装了的别家，在 T、S、M 三种规模上交替着量。

流入：规模与引擎的名字；流出：每步用时、每秒 token 数、内存峰值、与 torch 的比值，旁边是只做矩阵乘法的下界。
一步是前向、损失、反向、裁剪与 AdamW；各家的初始权重与数据相同，头几步的损失与 torch 差得多的不量。
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import engines, gemm, patches, report
from benchmarks.compare import Answers, compare
from benchmarks.options import Options, too_small, unknown
from benchmarks.processes import System
from benchmarks.sizes import SIZES, sized
from tinygrad_llm.common import work
from tinygrad_llm.common.config import PRESETS, GPTConfig, parameter_count
from tinygrad_llm.common.progress import format_bytes
from tinygrad_llm.common.train_config import TrainConfig

REFERENCE = "torch"
LOSS_TOLERANCE = 1e-4
BATCHES = 8


@dataclass(frozen=True)
class StepOptions(Options):
    """一步训练的测速。"""

    sizes: tuple[str, ...] = ("T", "S", "M")
    """规模：T、S、M（见 ``sizes.py``），或模型预设名。"""
    engines: tuple[str, ...] | None = None
    """引擎；缺省是装了的全部，其中很慢的几家只量 T，``--quick`` 时不量。"""
    batch_size: int | None = None
    """覆盖规模：每步的序列数。"""
    context: int | None = None
    """覆盖规模：序列长度。"""
    peer_python: Path | None = None
    """装有 jax、mygrad、autograd、tinygrad 的解释器；缺省就用这一个。"""
    gemm: bool = True
    """旁边列出只做矩阵乘法要多久。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        found = [*super().problems(), *unknown("sizes", self.sizes, (*SIZES, *PRESETS))]
        if self.peer_python is not None and not self.peer_python.is_file():
            found.append(f"--peer-python: there is no file {self.peer_python}")
        found += too_small(self, {"batch_size": 1, "context": 1})
        return found + unknown("engines", self.engines or (), engines.ENGINES)

    def chosen(self, size: str) -> list[str]:
        """这种规模上要量哪些引擎。"""
        if self.engines is not None:
            return list(self.engines)
        has_time = size == "T" and not self.quick
        return [name for name in engines.ENGINES if has_time or name not in engines.SLOW]


# ---- 子进程 ----


@contextmanager
def job(settings: dict[str, Any]) -> Iterator[Callable[[int], dict[str, Any]]]:
    """一步训练；批次事先抽好，轮流用。"""
    if settings.get("patch"):
        patches.apply(settings["patch"])
    model, batch = GPTConfig.from_dict(settings["model"]), settings["batch"]
    train, close = engines.build(settings["engine"], model, TrainConfig(batch_size=batch))
    shape = (2, batch, model.context)
    batches = [np.random.default_rng(seed).integers(model.vocab_size, size=shape) for seed in range(BATCHES)]
    try:
        yield lambda index: {"loss": train(*batches[index % BATCHES])}
    finally:
        close()


# ---- 主进程 ----


def system(
    engine: str,
    model: GPTConfig,
    batch: int,
    options: Options,
    *,
    name: str = "",
    patch: str = "",
    python: Path | None = None,
) -> System:
    """一个引擎在一种规模上。

    Args:
        engine: 引擎名。
        model: 模型配置。
        batch: 批大小。
        options: 用几个核。
        name: 表里的名字；缺省是引擎名。
        patch: 关掉哪一项技术，见 ``patches.py``。
        python: 用哪个解释器；缺省就用这一个。

    Returns:
        可以交给 ``compare`` 的系统。
    """
    settings = {"engine": engine, "model": model.to_dict(), "batch": batch, "cores": options.cores, "patch": patch}
    quiet = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}  # 免得编译用的进程池留在一旁，算进内存
    return System(name or engine, "step", settings, python=str(python or sys.executable), environment=quiet)


def same_losses(found: Answers, reference: Answers) -> str | None:
    """头几步的损失与参照差得多，做的就不是同一件事。"""
    apart = max(abs(a["loss"] - b["loss"]) for a, b in zip(found, reference, strict=True))
    return f"its first losses differ from {REFERENCE}'s by {apart:.2g}" if not apart <= LOSS_TOLERANCE else None


def measure_size(size: str, options: StepOptions) -> dict[str, Any]:
    """一种规模上的全部引擎。"""
    model, batch = sized(size, options.context, options.batch_size)
    pythons = dict.fromkeys(engines.PEERS, options.peer_python)
    systems = [system(one, model, batch, options, python=pythons.get(one)) for one in options.chosen(size)]
    found = compare(systems, options.plan, REFERENCE, warmup=options.warmup, check=same_losses)
    tokens = batch * model.context
    for one in found["systems"].values():
        one["tokens_per_s"] = tokens / one["median_s"]
    bound = gemm.measure_size(size, model, batch, options) if options.gemm else None
    return {
        "size": size,
        "parameters": parameter_count(model),
        "batch": batch,
        "context": model.context,
        "flops": work.step_flops(model, batch),
        "gemm": bound,
        **found,
    }


def measure(options: StepOptions) -> list[dict[str, Any]]:
    """各种规模依次来。"""
    return [measure_size(size, options) for size in options.sizes]


def text(results: list[dict[str, Any]]) -> str:
    """每种规模一张表。"""
    parts = []
    for one in results:
        parts.append(
            f"{one['size']}: {one['parameters']:,} parameters, {one['batch']} x {one['context']} tokens per step,"
            f" {one['flops'] / 1e9:.4g} GFLOP of matrix products"
        )
        head = ["engine", "median step", "quartiles (ms)", "x torch", "tokens/s", "peak memory", "x its GEMM", "turns"]
        parts.append(report.table(head, [_row(name, found, one["gemm"]) for name, found in one["systems"].items()]))
        parts += [f"{name}: {reason}" for name, reason in one["unavailable"].items()]
        parts += [gemm.line(one["gemm"])] if one["gemm"] else []
        parts.append("")
    return "\n".join(parts)


def _row(name: str, found: dict[str, Any], bound: dict[str, Any] | None) -> list[str]:
    low, high = (1e3 * quartile for quartile in found["quartiles_s"])
    library = "torch" if name.startswith("torch") else name
    product = bound["systems"].get(library) if bound else None
    return [
        name + "*" * found["noisy"],
        report.milliseconds(found["median_s"]),
        f"{low:.4g} - {high:.4g}",
        report.times(found["ratio"], noisy=found["noisy"]),
        f"{found['tokens_per_s']:,.0f}",
        format_bytes(found["peak_memory_bytes"]),
        report.times(found["median_s"] / product["median_s"] if product else None),
        report.turns(found),
    ]


def main(options: StepOptions) -> None:
    """``python -m benchmarks step``。"""
    results = measure(options)
    print(f"{text(results)}\n{report.CAVEATS}")
    report.publish(report.document("step", options, results), options)
