"""只学一部分：LoRA、末几层、整数的底座；检查点只存学了的，底座分毫不动。"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from parity_tests.tuning.running import assert_resumes_exactly, resume, tune
from parity_tests.whole_runs.commands import ENGINES, Place, as_flags, furthest
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.lineage import weights_digest
from tinygrad_llm.common.partial import folded
from tinygrad_llm.common.session import load_weights
from torch_llm.loading import load_model
from torch_llm.quantization.weight import PackedWeight

PARITY = 1e-10
"""两个引擎在 float64 上走六步的差。"""
LORA: dict[str, Any] = {"lora_rank": 2, "lora_dropout": 0.1, "save_every": 2}
SCOPES = {"lora": LORA, "last layer": {"last_layers": 1, "save_every": 2}}


@pytest.mark.parametrize("name", SCOPES)
@pytest.mark.parametrize("engine", ENGINES)
def test_resumed_partial_tuning_differs(based: Place, engine: str, name: str) -> None:
    """只学一部分时，停下再续完与从未停过的不是逐位相同，或检查点里存了没有学的。"""
    assert_resumes_exactly(based, engine, **SCOPES[name])
    kept = load_checkpoint(based.runs / "straight").model
    assert all((".lora_" in one) == (name == "lora") for one in kept)
    assert "wte.weight" not in kept


@pytest.mark.parametrize("name", SCOPES)
def test_engines_tune_parts_differently(based: Place, name: str) -> None:
    """只学一部分时，两个引擎的结果不同；半途换引擎也一样。"""
    flags = {**SCOPES[name], "lora_dropout": None}
    for engine in ENGINES:
        assert tune(based, engine, engine, **flags).code == 0
    assert furthest(based.tensors("numpy"), based.tensors("torch")) < PARITY
    assert tune(based, "torch", "mixed", **flags, stop_at=3).code == 0
    done = resume(based, "numpy", "mixed")
    assert done.code == 0, done.err
    assert furthest(based.tensors("mixed"), based.tensors("torch")) < PARITY


def test_the_base_is_changed_by_tuning_on_top(based: Place) -> None:
    """训练改动了底座的文件；或补全的权重不是底座加支路；或底座换了内容仍照用。"""
    before = weights_digest(load_checkpoint(based.runs / "base").model)
    assert tune(based, "torch", "tuned", lora_rank=2).code == 0
    base, tuned = (load_checkpoint(based.runs / run) for run in ("base", "tuned"))
    assert weights_digest(base.model) == before == tuned.state["source"]["weights_sha256"]
    whole = load_weights(based.runs / "tuned")[1].model
    expected = folded(base.model, tuned.model, {"rank": 2, "alpha": 4.0})
    assert furthest(whole, expected) == 0
    assert furthest(whole, base.model) > 0
    assert based.generate("torch", "tuned", prompt="the", tokens=3).code == 0


def test_training_with_a_quantised_base_differs_from_its_weights(based: Place) -> None:
    """整数的底座上学 LoRA（QLoRA）：与在还原了的权重上学的不同，或底座没有留作整数。"""
    quantized = {"runs_dir": based.runs, "run": "int8", "format": "int8"}
    done = based.call("torch", "quantize", "base", *as_flags(quantized))
    assert done.code == 0, done.err
    flags = {"lora_rank": 2, "from_": "int8", "dtype": "float32"}
    for engine in ENGINES:
        done = tune(based, engine, engine, **flags)
        assert done.code == 0, done.err
    assert furthest(based.tensors("numpy"), based.tensors("torch")) < 1e-5
    model = load_model(based.runs / "int8").model
    assert isinstance(model.h[0].attn.c_attn.weight, PackedWeight)  # type: ignore[union-attr]


@pytest.mark.parametrize("scheme", ["int8", "int4"])
def test_gradient_through_an_integer_layer_is_wrong(scheme: str) -> None:
    """冻结的整数层的输出与梯度，与还原了的权重的不同。"""
    from tinygrad_llm.common.quantization import Scheme, quantize

    draw = np.random.default_rng(0)
    wanted = Scheme("int8") if scheme == "int8" else Scheme("int4", 32)
    packed = quantize(draw.standard_normal((6, 64)).astype(np.float32), wanted)
    weight = PackedWeight(packed)
    x = torch.from_numpy(draw.standard_normal((3, 64)).astype(np.float32)).requires_grad_()
    y = weight.linear(x)
    y.square().sum().backward()
    other = x.detach().clone().requires_grad_()
    expected = torch.nn.functional.linear(other, weight.to(torch.float32))
    expected.square().sum().backward()
    assert x.grad is not None
    assert other.grad is not None
    assert torch.equal(y, expected)
    assert torch.allclose(x.grad, other.grad, rtol=1e-6)


def test_contradicting_scopes_are_accepted(based: Place) -> None:
    """LoRA 与末几层不能同时要；模型没有的层应说出来。"""
    done = tune(based, "torch", "tuned", lora_rank=2, last_layers=1)
    assert done.code == 2
    assert "exclude each other" in done.err
    done = based.call(
        "torch",
        "sft",
        *as_flags({"run": "t", "runs_dir": based.runs, "from": "base", "data": "chats.jsonl", "lora_rank": 2}),
        "--lora-targets",
        "c_gate",
    )
    assert done.code == 2
    assert "no layers named c_gate" in done.err
