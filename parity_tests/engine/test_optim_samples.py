"""PyTorch 测试自己的优化器用的那些设定，在两个引擎上各跑一遍。

流入：``torch.testing`` 里每个优化器的样例与该报错的样例；流出：参数的轨迹与异常的类型。
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, values
from parity_tests.opinfo import torch_testing
from parity_tests.tolerances import TABLE

SAMPLES = torch_testing.load("common_optimizers")
INFOS: dict[str, Any] = {info.optim_cls.__name__: info for info in SAMPLES.optim_db}
del INFOS["SparseAdam"]  # 没有稀疏张量


class _Converter:
    """torch 的 Tensor → 我们的；同一个对象换成同一个对象。"""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: self(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self(v) for v in value)
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) not in self.known:
            ours: Any = tg.tensor(value.detach().numpy().copy())
            self.known[id(value)] = value, tg.nn.Parameter(ours) if isinstance(value, torch.nn.Parameter) else ours
        return self.known[id(value)][1]


def _trajectory(m: Any, name: str, options: dict[str, Any]) -> list[Any]:
    shapes = [(4, 3), (2, 5)] if name == "Muon" else [(4, 3), (5,), ()]
    params = [m.nn.Parameter(m.tensor(values(i, *shape))) for i, shape in enumerate(shapes)]
    optimizer = getattr(m.optim, name)(params, **options)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = sum(((p - 1.3) ** 2).sum() + p.sin().sum() for p in params)
        loss.backward()
        return loss

    for _ in range(15):
        closure()
        optimizer.step(closure)
    return [np.array(p.detach().numpy()) for p in params]


@pytest.mark.parametrize("name", sorted(INFOS))
def test_torchs_own_settings_give_torchs_trajectory(name: str) -> None:
    """PyTorch 自己的某个设定在这里给出另一条轨迹，或报另一种错。"""
    rtol, atol = (1.0, 0.05) if name == "Muon" else TABLE["float64"]  # Muon 在 bfloat16 里正交化
    samples = list(INFOS[name].optim_inputs_func(device="cpu"))
    assert samples
    for sample in samples:
        found: list[Any] = []
        for m in ENGINES:
            options = sample.kwargs if m is torch else _Converter()(sample.kwargs)
            try:
                found.append(_trajectory(m, name, options))
            except (RuntimeError, ValueError, AssertionError) as error:
                found.append(type(error))
        ours, theirs = found
        if isinstance(theirs, type):
            assert ours is theirs, f"{sample}: {ours}"
            continue
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=str(sample))


@pytest.mark.parametrize("name", sorted(INFOS))
def test_torchs_own_mistakes_raise_torchs_errors(name: str) -> None:
    """PyTorch 自己列的某个错误设定被收下了，或报另一种错。"""
    for sample in INFOS[name].optim_error_inputs_func("cpu", torch.float32):
        given = sample.optimizer_error_input
        convert = _Converter()
        params = [tg.nn.Parameter(tg.ones(1, 1))] if given.params is None else convert(given.params)
        stepping = sample.error_on is SAMPLES.OptimizerErrorEnum.STEP_ERROR
        with pytest.raises(sample.error_type):
            _use(name, params, convert(given.kwargs), stepping)


def _use(name: str, params: Any, options: dict[str, Any], stepping: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # 有的只该给提醒
        optimizer = getattr(tg.optim, name)(params, **options)
        for p in params if stepping else ():
            p.grad = tg.zeros_like(p)
            optimizer.step()
