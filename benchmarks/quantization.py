"""量化的得失：困惑度、大小与解码的速度，一张表、三张图，旁边是带宽给出的上限。

流入：一个没有量化的运行（不给就用初值，只看大小与速度）；流出：每种存法一行，困惑度的变化带着区间。
几种存法轮流解码，同受一时的干扰；困惑度逐窗相减再取区间，各窗的难易因此抵消。
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.decode import weight_bytes
from benchmarks.options import Output, too_small, unknown
from benchmarks.weights import load_weights
from tinygrad_llm.common.config import PRESETS, GPTConfig, preset
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.progress import format_bytes
from tinygrad_llm.common.quantization import Packed, Scheme, quantize
from tinygrad_llm.common.quantization.rounding import choose_scheme
from tinygrad_llm.common.quantization.storage import HEADS, quantize_tensors

METHODS = ("gptq", "awq")
FORMATS = ("float32", *(f"{kind}{method}" for kind in ("int8", *(f"int4-g{group}" for group in (32, 64, 128)))
                        for method in ("", *(f"-{one}" for one in METHODS))))  # fmt: skip
WINDOW = 256
READ_BYTES = 1 << 29
CALIBRATION_TOKENS = 16384


@dataclass(frozen=True)
class QuantizationOptions(Output):
    """量化的困惑度、大小与速度。"""

    run: Path | None = None
    """没有量化的运行文件夹；不给就用 ``--size`` 的初值，不量困惑度。"""
    size: str = "smollm2-135m"
    """没有运行时，用哪个模型预设的形状。"""
    formats: tuple[str, ...] = ("float32", "int8", "int4-g32", "int4-g64")
    """哪几种存法；int8 与 int4-gN 后面可以接 -gptq 或 -awq。头一个是基准。"""
    corpora: tuple[str, ...] = ("python-docs", "storyworld-en")
    """在哪些语料（末尾的两成）上量困惑度。"""
    tokens: int | None = None
    """每个语料几个 token；缺省 20480，``--quick`` 时 2048。"""
    decode_tokens: int = 16
    """每一轮各解码几个 token。"""
    rounds: int | None = None
    """轮流解码几轮，取每个 token 的中位数；缺省 15，``--quick`` 时 3。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        found = [
            *super().problems(),
            *unknown("formats", self.formats, FORMATS),
            *unknown("size", (self.size,), PRESETS),
        ]
        found += ["--formats needs at least one"] * (not self.formats)
        return found + too_small(self, {"tokens": WINDOW, "decode_tokens": 1, "rounds": 1})


def _tensors(config: GPTConfig, weights: Any, format: str, calibration: Callable[[], Any]) -> dict[str, Any]:
    """一种存法的全部张量；词嵌入与输出层总是 int8。"""
    kind, _, rest = format.partition("-")
    group, _, method = rest.removeprefix("g").partition("-") if kind == "int4" else ("0", "", rest)

    def scheme(name: str) -> Scheme:
        return Scheme("int8") if kind == "int8" or name in HEADS else Scheme("int4", int(group))

    if not method:
        return quantize_tensors(config, weights, scheme, lambda name, w, one: quantize(w, choose_scheme(w, one)))
    from torch_llm.quantization.calibrate import calibrated

    return calibrated(config, weights, calibration(), scheme, method)


def measure(options: QuantizationOptions) -> dict[str, Any]:
    """逐种存法造模型、量困惑度，再轮流量速度。"""
    from torch_llm.loop import build_model
    from torch_llm.quantization.model import assembled

    config, windows, calibration = _material(options)
    weights = load_weights(str(options.run) if options.run else None, config)
    rows, models = dict[str, dict[str, Any]](), dict[str, Any]()
    for format in options.formats:
        report.tell(f"quantising and reading: {format}")
        if format == "float32":
            tensors, model = dict(weights), build_model(config, weights).eval()
        else:
            tensors = _tensors(config, weights, format, calibration)
            model = assembled(config, tensors)
        models[format] = model
        n_bytes = sum(value.nbytes for value in tensors.values())
        losses = {corpus: _window_losses(model, ids) for corpus, ids in windows.items()}
        rows[format] = {"bytes": n_bytes, "read_bytes": _read(config, tensors), "losses": losses}
    _compared(rows, options.formats[0])
    for format, median in _decoded(models, options).items():
        rows[format]["tokens_per_s"] = 1 / median
    return {
        "model": options.run.name if options.run else options.size,
        "tokens": {corpus: int(ids.size) for corpus, ids in windows.items()},
        "read_bytes_per_s": _read_rate(),
        "rows": rows,
    }


def _material(options: QuantizationOptions) -> tuple[GPTConfig, dict[str, Any], Callable[[], Any]]:
    """模型配置、各语料的窗、校准的窗。"""
    from tinygrad_llm.common.quantization.texts import token_windows
    from tinygrad_llm.common.session import load_trained

    if options.run is None:
        if any(format.endswith(METHODS) for format in options.formats):
            raise UserError("gptq and awq need a trained model to calibrate", fix="give --run")
        return preset(options.size), {}, lambda: None
    config, tokenizer, _ = load_trained(options.run)
    length = min(WINDOW, config.context)
    tokens = options.tokens or (2048 if options.quick else 20480)
    windows = {name: token_windows(tokenizer, name, tokens, length, is_calibration=False) for name in options.corpora}

    def calibration() -> Any:
        return token_windows(tokenizer, options.corpora[0], CALIBRATION_TOKENS, length, is_calibration=True)

    return config, windows, calibration


def _window_losses(model: Any, ids: Any) -> list[float]:
    """各窗每个 token 的平均损失（纳特）。"""
    from torch_llm.quantization.evaluate import mean_loss

    return [mean_loss(model, row[None]) for row in ids]


def _compared(rows: dict[str, dict[str, Any]], base: str) -> None:
    """各窗的损失，换成困惑度与它相对基准的变化、95 % 区间的半宽。"""
    from tinygrad_llm.common.scoring.intervals import student_t

    first = {corpus: np.array(losses) for corpus, losses in rows[base]["losses"].items()}
    for row in rows.values():
        row["perplexity"], row["change"], row["half_width"] = {}, {}, {}
        for corpus, losses in row.pop("losses").items():
            apart = np.array(losses) - first[corpus]
            error = apart.std(ddof=1) / math.sqrt(len(apart)) if len(apart) > 1 else 0.0
            row["perplexity"][corpus] = math.exp(np.mean(losses))
            row["change"][corpus] = math.expm1(apart.mean())
            row["half_width"][corpus] = student_t(max(1, len(apart) - 1)) * float(error)


def _read(config: GPTConfig, tensors: dict[str, Any]) -> float:
    """解码一个 token 要读几个字节。"""
    if not any(isinstance(value, Packed) for value in tensors.values()):
        return weight_bytes(config)
    skipped = {"wpe.weight"} | (set() if config.tie_head else {"wte.weight"})
    return float(sum(value.nbytes for name, value in tensors.items() if name not in skipped))


def _decoded(models: dict[str, Any], options: QuantizationOptions) -> dict[str, float]:
    from torch_llm.quantization.evaluate import decode_speeds

    report.tell("decoding in turns")
    speeds = decode_speeds(models, options.decode_tokens, options.rounds or (3 if options.quick else 15))
    return {name: 1 / speed for name, speed in speeds.items()}


def _read_rate() -> float:
    """几个进程各读一段远大于缓存的内存，合起来每秒几个字节。"""
    from multiprocessing import get_context

    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with get_context("spawn").Pool(count) as pool:
        pool.map(_read_once, range(count), 1)
        return sum(pool.map(_read_once, range(count), 1))


def _read_once(_: int) -> float:
    x = np.ones(READ_BYTES // 8, np.float32)
    y = x.copy()
    spent = []
    for _ in range(7):
        started_at = time.perf_counter()
        np.dot(x, y)
        spent.append(time.perf_counter() - started_at)
    return READ_BYTES / statistics.median(spent)


def text(result: dict[str, Any]) -> str:
    """一种存法一行。"""
    rows, rate = result["rows"], result["read_bytes_per_s"]
    base = next(iter(rows.values()))
    corpora = list(base["perplexity"])
    lines = []
    for name, row in rows.items():
        line = [name, format_bytes(row["bytes"]), f"{row['bytes'] / base['bytes']:.1%}"]
        for corpus in corpora:
            change, half = row["change"][corpus], row["half_width"][corpus]
            line += [f"{row['perplexity'][corpus]:.3f}", f"{change:+.2%} ± {half:.2%}"]
        bound = rate / row["read_bytes"]
        speed = row["tokens_per_s"]
        line += [f"{speed:.1f}", f"{speed / base['tokens_per_s']:.2f}", f"{bound:.1f}", f"{speed / bound:.0%}"]
        lines.append(line)
    head = [result["model"], "size", "of the first"]
    head += [part for corpus in corpora for part in (f"{corpus} perplexity", "change")]
    head += ["tokens/s", "x the first", "bound", "of the bound"]
    tokens = ", ".join(f"{corpus} {count}" for corpus, count in result["tokens"].items()) or "none (random weights)"
    note = f"tokens read: {tokens}; memory read at {rate / 1e9:.1f} GB/s; bound: every stored weight once a token"
    return f"{report.table(head, lines)}\n{note}"


def main(options: QuantizationOptions) -> None:
    """``python -m benchmarks quantization``。"""
    result = measure(options)
    print(f"{text(result)}\n\nThe formats decode in turns; medians over all tokens. Repeat on a quiet machine.")
    report.publish(report.document("quantization", options, result), options)
