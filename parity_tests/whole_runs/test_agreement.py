"""两个引擎走完同一次训练：损失、权重、AdamW 的矩处处相符；同一条命令两次逐位相同。"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from parity_tests.whole_runs.commands import ENGINES, Place, assert_bit_equal, furthest
from tinygrad_llm.common.checkpoint import load_checkpoint

BOUNDS = {"float32": 1e-4, "float64": 1e-10}
"""整条损失曲线的相对差；float32 的舍入随步数累积，float64 在这个长度上几乎没有。"""

FAMILIES: dict[str, dict[str, Any]] = {
    "GPT-2": {},
    "Llama": {"preset": "toy-llama", "n_kv_head": 1},
}


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_of_the_engines_part(place: Place, family: str, dtype: str) -> None:
    """两个引擎的损失与梯度范数整程相符，学习率逐位相同。"""
    for engine in ENGINES:
        assert place.train(engine, engine, dtype=dtype, steps=24, **FAMILIES[family]).code == 0
    for column in ("loss", "grad_norm"):
        ours, theirs = (place.curve(engine, column) for engine in ENGINES)
        assert len(ours) == 24
        np.testing.assert_allclose(ours, theirs, rtol=BOUNDS[dtype], atol=0)
    assert (place.curve("numpy", "lr") == place.curve("torch", "lr")).all()
    assert place.curve("numpy")[-1] < 0.9 * place.curve("numpy")[0], "the model learned nothing"
    if dtype == "float64":
        assert furthest(place.tensors("numpy"), place.tensors("torch")) <= 1e-9


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_command_twice_gives_different_numbers(place: Place, engine: str) -> None:
    """同样的设置跑两次，日志、样本、权重与两个矩逐位相同。"""
    for run in ("first", "second"):
        assert place.train(engine, run, eval_every=5, sample_every=5).code == 0
    assert place.columns("first") == place.columns("second")
    assert_bit_equal(place.tensors("first"), place.tensors("second"))
    for name in ("samples.txt", "tokenizer.json"):
        assert (place.runs / "first" / name).read_bytes() == (place.runs / "second" / name).read_bytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_seed_has_no_effect(place: Place, engine: str) -> None:
    """换一个种子，初始权重与数据次序都不同。"""
    for seed in (0, 1):
        assert place.train(engine, f"seed{seed}", seed=seed, steps=2).code == 0
    assert (place.curve("seed0") != place.curve("seed1")).all()


# ---- 交接 ----


@pytest.mark.parametrize("order", [("numpy", "torch"), ("torch", "numpy")])
def test_handed_over_run_ends_elsewhere(place: Place, order: tuple[str, str]) -> None:
    """在任意一步换引擎接着训练，损失、权重与两个矩同一直在一个引擎上训练的一样。"""
    first, second = order
    assert place.train(first, "straight", dtype="float64", steps=16).code == 0
    for k in random.Random(first).sample(range(1, 16), 2):
        run = f"at{k}"
        assert place.train(first, run, dtype="float64", steps=16, stop_at=k).code == 0
        assert place.resume(second, run).code == 0
        assert_followed(place, run, "straight")


def test_ping_pong_between_engines_drifts(place: Place) -> None:
    """每两步换一次引擎，来回六次，仍与一直在一个引擎上训练的一样。"""
    assert place.train("numpy", "straight", dtype="float64").code == 0
    assert place.train("numpy", "ping", dtype="float64", stop_at=2).code == 0
    for stop_at in range(4, 13, 2):
        engine = ENGINES[stop_at // 2 % 2 == 0]
        assert place.resume(engine, "ping", stop_at=stop_at).code == 0
        assert load_checkpoint(place.runs / "ping").state["engine"] == engine
    assert_followed(place, "ping", "straight")


def test_checkpoints_of_the_engines_are_different_files(place: Place) -> None:
    """两个引擎的检查点：文件、张量的名字、次序、形状、类型与优化器步数都相同。"""
    for engine in ENGINES:
        assert place.train(engine, engine, preset="toy-llama", n_kv_head=1, steps=3).code == 0
    ours, theirs = (load_checkpoint(place.runs / engine) for engine in ENGINES)
    layout = [
        [(name, a.shape, a.dtype) for part in (c.model, c.optim) for name, a in part.items()] for c in (ours, theirs)
    ]
    assert layout[0] == layout[1]
    assert {a.dtype.name for a in ours.optim.values()} == {"float32"}
    same = ("model", "tokenizer", "text", "optimizer_step", "data_step", "skipped_steps")
    assert {name: ours.state[name] for name in same} == {name: theirs.state[name] for name in same}
    files = [{path.name for path in (place.runs / e / "checkpoints" / "step_000003").iterdir()} for e in ENGINES]
    assert files[0] == files[1]


def assert_followed(place: Place, run: str, straight: str) -> None:
    """一次换过引擎的训练与不换的相差不过 1e-9。"""
    np.testing.assert_allclose(place.curve(run), place.curve(straight), rtol=1e-9, atol=0)
    assert furthest(place.tensors(run), place.tensors(straight)) <= 1e-9
