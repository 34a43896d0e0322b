"""``--from RUN``：从别的运行的权重起步，优化器与学习率从头开始。"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from parity_tests.whole_runs.commands import ENGINES, Place, assert_bit_equal
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.lineage import weights_digest
from tinygrad_llm.common.toml import load_toml
from tinygrad_llm.common.torch_config import TorchConfig

FRESH: dict[str, Any] = {
    "preset": None, "n_layer": None, "n_embd": None, "n_head": None, "context": None, "vocab_size": None,
}  # fmt: skip
"""不给模型的设置：它们随出发点而来。"""


@pytest.fixture
def base(place: Place) -> Place:
    """工作间里有一次训练好的 ``base``。"""
    assert place.train("numpy", "base").code == 0
    return place


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_from_another_does_not_start_at_its_weights(base: Place, engine: str) -> None:
    """学习率几乎为 0 地走一步，权重仍与出发点相同；模型、分词器与摘要都记下了。"""
    source = load_checkpoint(base.runs / "base")
    done = base.train(engine, "next", **FRESH, **{"from": "base"}, steps=1, lr=1e-30, weight_decay=0)
    assert done.code == 0, done.err
    found = load_checkpoint(base.runs / "next")
    assert_bit_equal(found.model, source.model)
    assert found.state["model"] == source.state["model"]
    assert found.state["tokenizer"] == source.state["tokenizer"]
    assert found.state["source"]["weights_sha256"] == weights_digest(source.model)
    assert found.state["source"]["step"] == 12
    config = load_toml(base.runs / "next" / "config.toml", TorchConfig)
    assert (config.from_run, config.n_embd, config.vocab_size) == ("base", 32, 300)


@pytest.mark.parametrize("engine", ENGINES)
def test_optimiser_of_the_source_leaks_into_the_new_run(base: Place, engine: str) -> None:
    """第一步之后的矩就是第一步的梯度给的：与从同样的权重、空的优化器算出的相同。"""
    flags: dict[str, Any] = {**FRESH, "from": "base", "steps": 1, "grad_clip": 1e9}
    assert base.train(engine, "next", **flags).code == 0
    found = load_checkpoint(base.runs / "next")
    settings = load_toml(base.runs / "next" / "config.toml", TorchConfig)
    for name, weight in found.model.items():
        m, v = found.optim[f"exp_avg.{name}"], found.optim[f"exp_avg_sq.{name}"]
        gradient = m / np.float32(1 - settings.beta1)
        np.testing.assert_allclose(v, gradient**2 * (1 - settings.beta2), rtol=2e-4, atol=1e-12)
        assert weight.shape == m.shape
    assert found.state["optimizer_step"] == 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("save_every", [4, 0])
def test_resume_of_a_run_from_another_differs(base: Place, engine: str, save_every: int) -> None:
    """停下再续完，与从未停过的逐位相同；有了自己的检查点，出发点删掉也不要紧。"""
    flags: dict[str, Any] = {**FRESH, "from": "base", "save_every": save_every, "seed": 5, "dropout": 0.1}
    assert base.train(engine, "straight", **flags).code == 0
    assert base.train(engine, "broken", **flags, stop_at=5).code == 0
    (base.runs / "base").rename(base.runs / "moved")
    assert base.resume(engine, "broken").code == 0
    assert_bit_equal(base.tensors("broken"), base.tensors("straight"))
    assert base.columns("broken") == base.columns("straight")
    state = load_checkpoint(base.runs / "broken").state
    assert state["source"]["run"].endswith("base")


@pytest.mark.parametrize(
    ("flags", "named"),
    [({"n_embd": 64}, "--n-embd 64"), ({"vocab_size": 400}, "--vocab-size 400"), ({"preset": "gpt2"}, "--preset gpt2")],
)
def test_contradiction_with_the_source_is_accepted(base: Place, flags: dict[str, Any], named: str) -> None:
    """给出的模型与出发点不符，拒绝并指名；什么也没写下。"""
    before = base.contents()
    done = base.train("torch", "next", **{**FRESH, "from": "base", **flags})
    assert done.code == 2
    assert named in done.err
    assert len(done.error) == 3
    assert base.contents() == before


def test_missing_source_is_not_named(base: Place) -> None:
    """没有那次运行，或起步于自己：一句话说清。"""
    missing = base.train("numpy", "next", **{**FRESH, "from": "nowhere"})
    assert missing.code == 4
    assert "no such run" in missing.err
    own = base.train("numpy", "self", **{**FRESH, "from": str(base.runs / "self")})
    assert own.code == 2
    assert "start from itself" in own.err
