"""检查点在随机的一步交给另一个引擎：文件原样回来，一个字节不差；接着走的路与没有换过引擎的相同。"""

from __future__ import annotations

import tempfile
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity_tests.contract.cases import configs
from parity_tests.whole_runs.commands import ENGINES
from tinygrad_llm.common.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.common.update_rules import Rule
from tinygrad_llm.train import NumpyEngine
from torch_llm.loop import TorchEngine

STEPS = 5
Width = Literal["float32", "float64"]
RULES: tuple[Rule, ...] = get_args(Rule)
WIDTHS: tuple[Width, ...] = get_args(Width)
FILES = ("model.safetensors", "optim.safetensors", "state.json", "MANIFEST.json")
SOME = settings(max_examples=max(5, settings().max_examples // 5))


def make(engine: str, config: GPTConfig, settings: TrainConfig) -> Any:
    """一个刚造好的训练引擎。"""
    if engine == "numpy":
        return closing(NumpyEngine(config, settings))
    return nullcontext(TorchEngine(config, TorchConfig.of(settings, "cpu")))  # 它没有工作进程可关


def batch(config: GPTConfig, step: int) -> tuple[Any, Any]:
    """第 ``step`` 步的批次；约五分之一的目标不计。"""
    rng = np.random.default_rng(step)
    x, y = rng.integers(0, config.vocab_size, (2, 2, config.context))
    return x, np.where(rng.random(y.shape) < 0.8, y, -100)


def advance(engine: Any, config: GPTConfig, steps: range) -> None:
    """走这几步。"""
    for step in steps:
        engine.train_step(step, batch(config, step), 3e-3 / (step + 1))


def save(engine: Any, folder: Path, step: int) -> dict[str, bytes]:
    """存成检查点；返回各个文件的内容。"""
    model, states, updates = engine.export()
    path = save_checkpoint(folder, Checkpoint(step, model, states, {"optimizer_step": updates}))
    return {name: (path / name).read_bytes() for name in FILES}


def load(engine: Any, folder: Path) -> None:
    """从检查点装回。"""
    kept = load_checkpoint(folder)
    engine.restore(kept.model, kept.optim, int(kept.state["optimizer_step"]))


@pytest.mark.parametrize("first", ENGINES)
@SOME
@given(
    config=configs(),
    k=st.integers(0, STEPS),
    rule=st.sampled_from(RULES),
    dtype=st.sampled_from(WIDTHS),
)
def test_round_trip_through_the_other_engine_changes_a_byte(
    first: str, config: GPTConfig, k: int, rule: Rule, dtype: Width
) -> None:
    """走 k 步存盘，另一个引擎装回、原样存出，再回到头一个引擎存出：三份检查点的每个文件逐字节相同。"""
    second = ENGINES[first == "numpy"]
    chosen = TrainConfig(batch_size=2, dtype=dtype, optimizer=rule, workers=1)
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / name for name in ("a", "b", "c")]
        with make(first, config, chosen) as engine:
            advance(engine, config, range(k))
            kept = [save(engine, folders[0], k)]
        for engine_name, came_from, goes_to in zip((second, first), folders, folders[1:], strict=False):
            with make(engine_name, config, chosen) as engine:
                load(engine, came_from)
                kept.append(save(engine, goes_to, k))
    for name in FILES:
        assert kept[0][name] == kept[1][name] == kept[2][name], name


@pytest.mark.parametrize("first", ENGINES)
@SOME
@given(config=configs(), k=st.integers(0, STEPS), rule=st.sampled_from([r for r in RULES if r != "muon"]))
def test_the_other_engine_goes_elsewhere(first: str, config: GPTConfig, k: int, rule: Rule) -> None:
    """在随机的一步交给另一个引擎，走到底，参数与没有换过的相差超过 1e-8（float64；Muon 舍入到 bfloat16，另有测试）。"""
    chosen = TrainConfig(batch_size=2, dtype="float64", optimizer=rule, workers=1)
    with tempfile.TemporaryDirectory() as place, make(first, config, chosen) as straight:
        advance(straight, config, range(k))
        save(straight, Path(place), k)
        with make(ENGINES[first == "numpy"], config, chosen) as other:
            load(other, Path(place))
            for engine in (straight, other):
                advance(engine, config, range(k, STEPS))
            (expected, _, count), (found, _, updates) = straight.export(), other.export()
            assert updates == count
            for name, array in expected.items():
                assert np.abs(found[name] - array).max() <= 1e-8 * np.abs(array).max(), name
