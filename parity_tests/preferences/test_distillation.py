"""蒸馏：损失与手算的相同，两个引擎相同，停下再续与不停相同，老师写的文字与怎样训练无关。

流入：没有训练过的老师与一小段故事；流出：损失、权重、日志的差。
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.preferences.base import make_base
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.corpora import storyworld
from tinygrad_llm.common.errors import CheckpointError, DataError, UserError
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.tuning.distillation_config import TorchDistillConfig, TorchDistillSeedsConfig
from tinygrad_llm.common.tuning.distillation_study import compare_students
from tinygrad_llm.distill import distill as numpy_distill
from torch_llm.distill import distill as torch_distill
from torch_llm.loop import TorchEngine, build_model
from torch_llm.objectives_distillation import DistillationMethod

DISTILL: dict[str, Callable[[Any], None]] = {"numpy": numpy_distill, "torch": torch_distill}


@pytest.fixture
def settings(tmp_path: Path) -> TorchDistillConfig:
    """六步的蒸馏：老师宽 16，学生宽 8。"""
    make_base(tmp_path / "teacher")
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(story.text for story in storyworld.stories(lang="en").take(12)), encoding="utf-8")
    return TorchDistillConfig(
        run="a", runs_dir=str(tmp_path), teacher="teacher", corpus=str(text), steps=6, batch_size=4, workers=1,
        dtype="float64", context=24, n_layer=1, n_head=2, n_embd=8, eval_every=0, sample_every=0, save_every=3,
        warmup_steps=0, lr=0.01, val_fraction=0.1, device="cpu",
    )  # fmt: skip


def weights(settings: TorchDistillConfig) -> dict[str, Any]:
    """末一个检查点的权重。"""
    return dict(load_checkpoint(settings.folder).model)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_distillation_loss_differs_from_the_formula(reverse: bool) -> None:
    """``(1-α)·交叉熵 + α·T²·KL``，各有效位置之和，与由整个 softmax 手算的不同。"""
    import torch

    config = GPTConfig(vocab_size=13, context=8, n_layer=1, n_head=2, n_embd=8)
    teacher = build_model(config, initial_weights(config, 5, "float64"))
    chosen = TorchConfig(dtype="float64", device="cpu", batch_size=2, seed=2)
    engine = TorchEngine(config, chosen, method=DistillationMethod(teacher, 0.3, 2.0, reverse))
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 13, (2, 2, 8))
    y[0, :3] = -100
    with torch.no_grad():
        ours, theirs = (model(torch.from_numpy(x)).numpy() for model in (engine.model, teacher))

    def table(logits: Any) -> Any:
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    p, q = table(theirs / 2.0), table(ours / 2.0)
    kl = ((np.exp(q) * (q - p)) if reverse else (np.exp(p) * (p - q))).sum(-1) * 4.0
    nll = -np.take_along_axis(table(ours), np.maximum(y, 0)[..., None], -1)[..., 0]
    wanted = (np.where(y >= 0, 0.7 * nll + 0.3 * kl, 0)).sum()
    found = engine.examine((x, y))
    assert found.loss == pytest.approx(wanted, rel=1e-12)
    assert found.units == (y >= 0).sum()
    agreed = ((ours.argmax(-1) == theirs.argmax(-1)) & (y >= 0)).sum()
    assert found.figures["agreement"] == agreed


@pytest.mark.parametrize("level", ["logits", "sequence"])
def test_the_engines_distil_differently(level: Any, settings: TorchDistillConfig) -> None:
    """两个引擎从同样的初值走六步，损失、评估与权重有差别。"""
    runs = {name: replace(settings, run=name, level=level, **_few(level)) for name in DISTILL}
    for name, run in runs.items():
        DISTILL[name](run)
    ours, theirs = (read_metrics(run.folder) for run in runs.values())
    for name in ("loss", "val_loss", *(("kl", "agreement") if level == "logits" else ())):
        curves = [[record[name] for record in metrics if name in record] for metrics in (ours, theirs)]
        assert curves[0]
        assert curves[0] == pytest.approx(curves[1], rel=1e-10)
    found, other = (weights(run) for run in runs.values())
    assert all(np.allclose(found[name], other[name], atol=1e-10) for name in found)


@pytest.mark.parametrize("level", ["logits", pytest.param("sequence", marks=pytest.mark.full)])
@pytest.mark.parametrize("second", DISTILL)
def test_a_stopped_distillation_goes_on_differently(level: Any, second: str, settings: TorchDistillConfig) -> None:
    """做到第 3 步停下，由同一个引擎续完逐位相同，由另一个续完相同到舍入。"""
    straight = replace(settings, run="straight", level=level, **_few(level))
    stopped = replace(straight, run="stopped", stop_at=3)
    torch_distill(straight)
    torch_distill(stopped)
    DISTILL[second](replace(stopped, stop_at=None, resume=True))
    whole, halves = weights(straight), weights(stopped)
    same = np.array_equal if second == "torch" else lambda a, b: np.allclose(a, b, atol=1e-10)
    assert all(same(whole[name], halves[name]) for name in whole)


def test_the_teacher_may_change_before_a_resume(settings: TorchDistillConfig, tmp_path: Path) -> None:
    """续训时老师已不是原来的：说明白，不接着走。"""
    torch_distill(replace(settings, stop_at=3))
    make_base(tmp_path / "teacher", seed=1)
    with pytest.raises((DataError, CheckpointError), match="changed"):
        torch_distill(replace(settings, resume=True))


def test_students_are_not_compared_with_themselves(settings: TorchDistillConfig, tmp_path: Path) -> None:
    """表里的差不是同一个种子有老师与没有老师之差；没有老师的与预训练不同；再跑一次又训练了一遍。"""
    kept = {field.name: getattr(settings, field.name) for field in fields(TorchDistillConfig)}
    study = TorchDistillSeedsConfig(**{**kept, "run": "study", "level": "both", "seeds": 2, "sequences": 10})
    rows = compare_students(study, TorchDistillConfig, torch_distill)
    assert [row.name for row in rows] == ["no teacher", "logits", "sequence"]
    for row in rows[1:]:
        assert row.gap is not None
        assert row.gap.value == pytest.approx(np.mean(row.values) - np.mean(rows[0].values), abs=1e-12)
    plain = replace(settings, run="plain", alpha=0.0, seed=1)
    torch_distill(plain)
    assert read_metrics(plain.folder)[-1]["val_bits_per_byte"] == rows[0].values[1]
    began = {path: path.stat().st_mtime_ns for path in (tmp_path / "study" / "cells").glob("*/metrics.jsonl")}
    assert len(began) == 6
    assert compare_students(study, TorchDistillConfig, torch_distill) == rows
    assert all(path.stat().st_mtime_ns == before for path, before in began.items())
    with pytest.raises(UserError, match="other settings"):
        compare_students(replace(study, lr=0.02), TorchDistillConfig, torch_distill)


def test_a_student_that_starts_from_a_run_forgets_unseen(settings: TorchDistillConfig, tmp_path: Path) -> None:
    """学生由 ``--from`` 起步，没有量它忘了多少；从头学的也要量。"""
    make_base(tmp_path / "student", width=8)
    chosen: dict[str, Any] = {"from_run": "student", "n_layer": None, "n_head": None, "n_embd": None, "context": None}
    run = replace(settings, **chosen, watch=f"own={settings.corpus}", watch_tokens=200)
    torch_distill(run)
    found = [record["step"] for record in read_metrics(run.folder) if "val_bits_per_byte_own" in record]
    assert (found[0], found[-1]) == (-1, 5)
    with pytest.raises(UserError, match="needs --from"):
        replace(settings, watch="own=x")


def test_a_wrong_distillation_is_not_refused(settings: TorchDistillConfig) -> None:
    """学生的上下文比老师的长、没有写明老师、别的蒸馏才有的设置：各有说明。"""
    with pytest.raises(UserError, match="context of 64 is shorter"):
        torch_distill(replace(settings, context=80))
    for wrong, message in (
        ({"teacher": ""}, "--teacher is missing"),
        ({"alpha": 1.5}, "--alpha must be"),
        ({"sequences": 9}, "--sequences belongs to --level sequence"),
        ({"level": "sequence", "reverse": True}, "--reverse belongs to --level logits"),
    ):
        with pytest.raises(UserError, match=message):
            replace(settings, **wrong)
    with pytest.raises(UserError, match="does not say which data"):
        torch_distill(replace(settings, corpus=""))


def _few(level: str) -> dict[str, Any]:
    return {"sequences": 10, "prompt_tokens": 4} if level == "sequence" else {}
