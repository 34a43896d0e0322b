"""体检：算错了的一层要被点名，算对了的不冤枉；标准答案自己也要对。"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tinygrad_llm.common import reference
from tinygrad_llm.common.config import GPTConfig, preset
from torch_llm import doctor
from torch_llm.gpt import GPT
from torch_llm.runtime import Runtime

GPT2 = GPTConfig(vocab_size=50, context=70, n_layer=1, n_head=4, n_embd=32)
LLAMA = replace(GPT2, norm="rmsnorm", position="rope", mlp="swiglu", bias=False, qk_norm=True, n_kv_head=2, window=5)
CPU = Runtime(torch.device("cpu"))


def _complaints(model: GPTConfig, rows: tuple[int, ...] = doctor.ROWS) -> list[str]:
    return [found for found in doctor.examine(model, CPU, rows, doctor.BOUNDS["float32"]) if found]


@pytest.mark.parametrize("model", [GPT2, LLAMA, replace(GPT2, mlp="gelu", bias=False)])
def test_healthy_device_is_accused(model: GPTConfig) -> None:
    """CPU 上没有错，却说哪一层错了：标准答案或界不对。"""
    assert _complaints(model) == []


def test_linear_wrong_from_nine_rows_up_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """九行起算错的 Linear 没有被点名，或没有说从几行起：有的设备就是这样错的。"""
    plain = F.linear

    def wrong(x: Any, weight: Any, bias: Any = None) -> Any:
        y = plain(x, weight, bias)
        return y if y.shape[-2] < 9 or y.shape[-1] != 32 else y * 0.9

    monkeypatch.setattr(F, "linear", wrong)
    found = _complaints(GPT2)
    assert [text.split(":")[0] for text in found] == ["attn.c_proj", "mlp.c_proj"]
    assert "forward" in found[0]
    assert "with 9 rows" in found[0]


def test_wrong_gradient_alone_goes_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """前向对、反向错的一层没有被点名。"""

    class Half(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, y: Any) -> Any:
            return y.clone()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * torch.linspace(0.9, 1, g.shape[-1])

    plain = F.layer_norm
    monkeypatch.setattr(F, "layer_norm", lambda *a: Half.apply(plain(*a)))  # type: ignore[no-untyped-call]
    found = _complaints(GPT2)
    assert [text.split(":")[0] for text in found] == ["ln_1", "ln_2", "ln_f"]
    assert all("backward" in text for text in found)


def test_nan_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """输出是 NaN 的一层没有被点名。"""
    monkeypatch.setattr(F, "gelu", lambda x, approximate: x * float("nan"))
    assert [text.split(":")[0] for text in _complaints(GPT2)] == ["mlp.gelu"]


@pytest.mark.parametrize("model", [GPT2, LLAMA])
def test_a_layer_of_the_model_is_not_examined(model: GPTConfig) -> None:
    """模型里有一层，体检时没有查，或宽度不是模型的。"""
    found = {layer.name: layer for layer in doctor.layers(model, 3)}
    for name, weight in GPT(model).state_dict().items():
        place = name.removesuffix(".weight").removeprefix("h.0.").replace("k_norm", "q_norm")
        if name.endswith(".weight") and place != "wpe":  # 位置的表与 wte 是同一种查表
            assert found[place].inputs["weight"].shape == tuple(weight.shape), name


@pytest.mark.parametrize("model", [GPT2, LLAMA])
def test_formulas_differ_from_torch_in_float64(model: GPTConfig) -> None:
    """标准答案自己错了：与 torch 的 float64 不同。"""
    for layer in doctor.layers(model, 11):
        ours = layer.reference(**layer.inputs)
        theirs = layer.on_device(**{name: torch.tensor(a) for name, a in layer.inputs.items()})
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-11, atol=1e-11, err_msg=layer.name)


def test_directional_derivative_is_not_the_closed_form() -> None:
    """中心差分与导数的闭式不同。"""
    x, v = np.array([0.3, -1.2]), np.array([2.0, 0.5])
    found = reference.directional(lambda x: x**3, {"x": x}, "x", v)
    np.testing.assert_allclose(found, 3 * x**2 * v, rtol=1e-8)


def test_presets_have_no_layers() -> None:
    """有的预设列不出各层。"""
    assert all(list(doctor.layers(replace(preset(name), vocab_size=9, context=4), 1)) for name in ("toy", "toy-llama"))
