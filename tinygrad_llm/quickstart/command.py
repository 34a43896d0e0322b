"""主线：同一个 GPT 在两个引擎上训练，并当场证明它们一致。

流入：一段真实文本；流出：终端上的对照表与 ``runs/quickstart/report.html``。任何一条超出界限，退出码非零。
本文件是 ``tinygrad_llm`` 里唯一用到 torch 的地方，且只在函数内部导入。各次训练怎样启动，见 ``runs.py``；
终端与网页上的样子，见 ``report.py``。
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.config import parameter_count
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.loop import rate
from tinygrad_llm.common.ngram import fit_byte_ngram
from tinygrad_llm.common.runlog import CONFIG, METRICS, read_metrics
from tinygrad_llm.common.session import Session, prepare
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import DType, TrainConfig
from tinygrad_llm.quickstart.runs import ENGINES, generate, hand_over, train

RUNS = [*ENGINES, "handover"]
"""主线包含的各次训练。"""

LR = 1e-3
"""峰值学习率比 ``train`` 的缺省小：那里的梯度尖峰把末位的舍入放大几千倍，对照的界限就分不出对错了。"""
REPEATED_STEPS = 5
SAMPLE_TOKENS = 150


@dataclass(frozen=True)
class QuickstartConfig:
    """主线的设置。"""

    run: str = "quickstart"
    """结果写在 ``RUNS_DIR/RUN/``；其中上一次的结果会被换掉。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    corpus: str = "python-docs"
    """文本：``python-docs``、``python-source``、``storyworld-zh``、``storyworld-en``，别的语料名，或文件、文件夹的路径。"""
    preset: str = "toy"
    """模型预设名。"""
    vocab_size: int = 1024
    """词表大小。"""
    steps: int = 200
    """每个引擎的训练步数。"""
    batch_size: int = 16
    """每步的序列数。"""
    dtype: DType = "float32"
    """浮点类型；``float64`` 下两个引擎应几乎逐位相同。"""
    seed: int = 0
    """种子。"""

    def __post_init__(self) -> None:
        if self.steps < 2 * REPEATED_STEPS:
            raise UserError(
                f"--steps must be at least {2 * REPEATED_STEPS}, got {self.steps}",
                where="quickstart settings",
                fix="correct the flag named above",
            )
        replace(self.training("numpy"), run=self.run)  # 其余的设置由 TrainConfig 校验

    @property
    def folder(self) -> Path:
        """结果文件夹。"""
        return Path(self.runs_dir) / self.run

    def training(self, name: str) -> TrainConfig:
        """名为 ``name`` 的那次训练的设置。"""
        half = self.steps // 2
        return TrainConfig(
            run=name, runs_dir=str(self.folder), corpus=self.corpus, preset=self.preset, vocab_size=self.vocab_size,
            steps=self.steps, batch_size=self.batch_size, lr=LR, dtype=self.dtype, seed=self.seed, eval_every=half,
            sample_every=0, sample_tokens=SAMPLE_TOKENS, save_every=half, keep=3,
        )  # fmt: skip


@dataclass(frozen=True)
class Check:
    """一条对照。

    Attributes:
        what: 比的是什么。
        found: 量得的值。
        bound: 界限。
        ok: 是否在界限之内。
    """

    what: str
    found: float
    bound: float
    ok: bool


@dataclass(frozen=True)
class Results:
    """主线得到的全部数字，供终端与网页显示。

    Attributes:
        config: 设置。
        session: 数据、分词器与模型配置。
        neuron: 单个神经元的反传表：名字、算式、值、两个引擎的梯度。
        gradients: 参数名到初始梯度的最大相对差。
        metrics: 运行名到它的日志。
        samples: 两个引擎从同一份权重生成的文字。
        baseline: 三元字节模型的每字节比特数。
        checks: 全部对照。
        elapsed_s: 总用时。
    """

    config: QuickstartConfig
    session: Session
    neuron: list[list[str]]
    gradients: dict[str, float]
    metrics: dict[str, list[dict[str, Any]]]
    samples: dict[str, str]
    baseline: float
    checks: list[Check]
    elapsed_s: float


def main(config: QuickstartConfig) -> None:
    """``python -m tinygrad_llm quickstart``。"""
    from tinygrad_llm.quickstart.report import print_checks, print_neuron, write_report

    started_at = time.perf_counter()
    _require_torch()
    session = prepare(config.training("new"))  # 先查出用户的错，再删上一次的结果
    _clear(config)

    _say(1, "one neuron, backward by hand: the same numbers on both engines")
    neuron, neuron_check = trace_neuron()
    print_neuron(neuron)

    _say(2, f"tokenizer and batches from {config.corpus}")
    baseline = fit_byte_ngram(session.train_text.encode()).bits_per_byte(session.validation_text.encode())
    _describe(session, baseline)

    _say(3, "the gradient of every parameter on the first batch")
    gradients = compare_gradients(session)
    worst = max(gradients, key=lambda name: gradients[name])
    print(f"largest relative difference {gradients[worst]:.1e}, at {worst}")

    _say(4, f"train {config.steps} steps on NumPy, then the same steps on torch")
    for engine in ENGINES:
        train(engine, config.training(engine))

    _say(5, f"hand over: NumPy up to step {config.steps // 2}, torch from there")
    hand_over(config.folder, config.steps // 2, config.training("handover"))

    _say(6, "repeat the first steps, and sample from one checkpoint on both engines")
    repeated = repeat_first_steps(session)
    samples = {engine: generate(engine, config.folder / "handover", SAMPLE_TOKENS) for engine in ENGINES}

    metrics = {name: read_metrics(config.folder / name) for name in RUNS}
    checks = [neuron_check, *_checks(config, gradients, metrics, repeated, samples, baseline)]
    elapsed_s = time.perf_counter() - started_at
    results = Results(config, session, neuron, gradients, metrics, samples, baseline, checks, elapsed_s)
    path = write_report(results)
    print_checks(results)
    print(f"report: {path}")
    if not all(check.ok for check in checks):
        sys.exit(1)


def _require_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise UserError("the quickstart compares with torch, which is not installed", fix="pip install torch")


def _clear(config: QuickstartConfig) -> None:
    """删掉上一次主线留下的各次运行；别的文件不动。"""
    if (config.folder / CONFIG).exists():
        raise UserError(
            "this folder holds a training run, not a quickstart",
            where=str(config.folder),
            fix="give the quickstart another name with --run",
        )
    for name in RUNS:
        if any((config.folder / name / trace).exists() for trace in (CONFIG, METRICS, "checkpoints")):
            shutil.rmtree(config.folder / name)


def _say(number: int, text: str) -> None:
    print(f"\n[{number}/6] {text}", flush=True)


def _describe(session: Session, baseline: float) -> None:
    tokens, size = session.train_tokens, len(session.train_text.encode())
    print(f"{size:,} bytes of training text = {tokens:,} tokens ({size / tokens:.2f} bytes each)")
    print(f"{parameter_count(session.model):,} parameters; a byte 3-gram model scores {baseline:.3f} bits/byte")


# ---- 一个神经元 ----


def trace_neuron() -> tuple[list[list[str]], Check]:
    """逻辑神经元 ``a = σ(wx + b)``、损失 ``-ln a``（目标为 1）的反传，两个引擎并排。

    Returns:
        每行为名字、代入数字的算式、值、NumPy 梯度、torch 梯度、差；以及「两边相等」这条对照。
    """
    import torch

    import tinygrad_llm as tg

    ours, theirs = _neuron(tg), _neuron(torch)
    sums = {
        "w": "weight", "x": "input", "b": "bias", "p": "w·x = 2.2·1.1", "z": "p + b", "a": "1/(1 + e⁻ᶻ)", "L": "-ln a",
    }  # fmt: skip
    rows, largest = [], 0.0
    for name, formula in sums.items():
        value, grad, other = ours[name].item(), ours[name].grad.item(), theirs[name].grad.item()
        largest = max(largest, abs(grad - other))
        rows.append([name, formula, f"{value:+.4f}", f"{grad:+.4f}", f"{other:+.4f}", f"{abs(grad - other):.0e}"])
    return rows, Check("one neuron: every gradient, |difference|", largest, 1e-15, largest <= 1e-15)


def _neuron(t: Any) -> dict[str, Any]:
    """同一段代码，``t`` 是 ``tinygrad_llm`` 或 ``torch``。"""
    w, x, b = (t.tensor(v, dtype=t.float64, requires_grad=True) for v in (2.2, 1.1, 0.0))
    p = w * x
    z = p + b
    a = t.sigmoid(z)
    loss = -t.log(a)
    values = {"w": w, "x": x, "b": b, "p": p, "z": z, "a": a, "L": loss}
    for value in values.values():
        value.retain_grad()
    loss.backward()
    return values


# ---- 全部参数的梯度 ----


def compare_gradients(session: Session) -> dict[str, float]:
    """首个批次上每个参数的梯度：``max|Δ| / max|g|``。

    Args:
        session: 数据与模型配置。

    Returns:
        参数名到相对差。
    """
    import torch

    import tinygrad_llm as tg
    from tinygrad_llm.train import build_model
    from torch_llm.loop import build_model as build_torch_model

    weights = initial_weights(session.model, session.settings.seed, session.settings.dtype)
    x, y = session.train.batch(0)
    ours, theirs = build_model(session.model, weights), build_torch_model(session.model, weights)
    (ours.loss(tg.from_numpy(x), tg.from_numpy(y)) / y.size).backward()
    (theirs.loss(torch.from_numpy(x), torch.from_numpy(y)) / y.size).backward()
    expected = {name: p.grad.numpy() for name, p in theirs.named_parameters() if p.grad is not None}
    return {
        name: float(np.abs(p.grad.array - expected[name]).max() / np.abs(expected[name]).max())
        for name, p in ours.named_parameters()
        if p.grad is not None
    }


def repeat_first_steps(session: Session) -> dict[str, list[float]]:
    """在本进程里把头几步再走一遍。

    Args:
        session: 数据与模型配置。

    Returns:
        引擎名到各步的损失；应与那两次训练逐位相同。
    """
    from tinygrad_llm.train import NumpyEngine
    from torch_llm.loop import TorchEngine

    settings, found = session.settings, {}
    for engine in (NumpyEngine(session.model, settings), TorchEngine(session.model, TorchConfig.of(settings))):
        steps = range(REPEATED_STEPS)
        found[engine.name] = [engine.train_step(i, session.train.batch(i), rate(settings, i)).loss for i in steps]
    return found


# ---- 对照 ----


def losses(records: list[dict[str, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """日志里每一步的损失。"""
    return np.array([r["loss"] for r in records if "loss" in r])


def validation_bits(records: list[dict[str, Any]]) -> float:
    """日志里最后一次评估的每字节比特数。"""
    return float([r["val_bits_per_byte"] for r in records if "val_bits_per_byte" in r][-1])


def relative(a: Any, b: Any) -> Any:
    """逐元素相对差。"""
    return np.abs(np.asarray(a) - np.asarray(b)) / np.abs(np.asarray(b))


def _checks(
    config: QuickstartConfig,
    gradients: dict[str, float],
    metrics: dict[str, list[dict[str, Any]]],
    repeated: dict[str, list[float]],
    samples: dict[str, str],
    baseline: float,
) -> list[Check]:
    loose = config.dtype == "float32"
    curve = {name: losses(records) for name, records in metrics.items()}
    repeats = sum(int((curve[e][:REPEATED_STEPS] != repeated[e]).sum()) for e in ENGINES)
    final = {name: load_checkpoint(config.folder / name).model for name in ("numpy", "handover")}
    weights = max(float(np.abs(final["handover"][n] - final["numpy"][n]).max()) for n in final["numpy"])
    apart = float(relative(curve["numpy"], curve["torch"]).max())
    at_the_end = float(relative(curve["handover"][-1], curve["numpy"][-1]))
    measured = [
        ("first gradients, largest relative difference", max(gradients.values()), 1e-5 if loose else 1e-10),
        ("losses over all steps, relative difference", apart, 1e-4 if loose else 1e-10),
        ("handed-over run, last loss, relative difference", at_the_end, 1e-4 if loose else 1e-9),
        ("handed-over run, final weights, |difference|", weights, 1e-3 if loose else 1e-9),
        ("repeated steps whose loss is not bit-identical", repeats, 0),
        ("sampled text that differs between engines", int(samples["numpy"] != samples["torch"]), 0),
    ]
    checks = [Check(what, float(found), bound, bool(found <= bound)) for what, found, bound in measured]
    bits = max(validation_bits(metrics[name]) for name in ENGINES)
    return [*checks, Check("validation bits/byte, below the 3-gram model's", bits, baseline, bits < baseline)]
