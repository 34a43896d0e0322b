"""设备核对：坏了的一层要被指名，设备上的错要被看见。"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.op_table import TABLE
from parity_tests.ledger import device


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        ("GPT-2", "h.1.mlp.c_fc", "output of h.1.mlp.c_fc"),
        ("GPT-2", "wpe", "output of wpe"),
        ("Llama", "h.2.attn.q_norm", "output of h.2.attn.q_norm"),
        ("Llama", "h.0.attn", "output of h.0.attn"),
    ],
)
def test_another_layer_is_blamed(name: str, layer: str, expected: str) -> None:
    """一层的输出偏了千分之一，指名的却不是它，或根本没有发现。"""
    config = device.CONFIGS[name]
    reference = device.walked(torch, config, "float64", "cpu")
    spoilt = device.walked(torch, config, "float64", "cpu", spoil=layer)
    first, largest = device.first_divergence(spoilt, reference, "float64")
    assert first == expected
    assert largest > 1e-4


@pytest.mark.parametrize("name", sorted(device.CONFIGS))
def test_the_engines_walk_different_layers(name: str) -> None:
    """两个引擎走过的层不同，比的就不是同一件事；或者哪一层分了家。"""
    ours, theirs = (device.walked(m, device.CONFIGS[name], "float64", "cpu") for m in (tg, torch))
    assert list(ours) == list(theirs)
    assert len(ours) > 50
    assert device.first_divergence(ours, theirs, "float64")[0] == ""


def test_a_missing_step_or_nan_passes() -> None:
    """少了一层、出了 NaN，却没有发现。"""
    reference = device.walked(torch, device.CONFIGS["Llama"], "float32", "cpu")
    for name in ("output of lm_head", "gradient of wte.weight"):
        if name not in reference:
            continue
        without = {key: value for key, value in reference.items() if key != name}
        assert device.first_divergence(without, reference, "float32")[0] == name
        wrong: dict[str, Any] = {**reference, name: reference[name] * float("nan")}
        assert device.first_divergence(wrong, reference, "float32")[0] == name


def test_a_wrong_device_passes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """设备上的函数偏了万分之一，退出码仍是 0；不偏时却是 1。"""
    monkeypatch.setattr(device, "CONFIGS", {})
    assert device.main("cpu", ["tanh"], 5, 0) == 0
    calls = {"count": 0}

    def every_second(x: Any) -> Any:
        """每个例子先在 CPU 上算基准，再在设备上算。"""
        calls["count"] += 1
        return torch.tanh(x) * (1.0001 if calls["count"] % 2 == 0 else 1.0)

    monkeypatch.setitem(TABLE, "tanh", TABLE["tanh"]._replace(twin=every_second))
    assert device.main("cpu", ["tanh"], 5, 0) == 1
    assert "FAILED tanh, float64 vs torch on the CPU" in capsys.readouterr().out
