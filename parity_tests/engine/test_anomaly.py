"""异常检测与报错：NaN、就地改写与形状不合都说出用户的哪一行。"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES

HERE = Path(__file__).name


@pytest.mark.parametrize("m", ENGINES, ids=["tinygrad_llm", "torch"])
def test_nan_in_a_gradient_goes_unnoticed(m: Any) -> None:
    """``detect_anomaly`` 之内反传出 NaN 没有报错，或报了别的错。"""
    x = m.tensor([0.0, 1.0], requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with m.autograd.detect_anomaly():
            y = (x.sqrt() * 0).sum()
            with pytest.raises(RuntimeError, match="Function 'SqrtBackward0' returned nan values in its 0th output"):
                y.backward()
        m.autograd.set_detect_anomaly(False)
        z = (x.sqrt() * 0).sum()
        z.backward()
    assert np.isnan(x.grad.numpy()[0])


def test_message_names_the_line_that_built_the_node() -> None:
    """报错没有指出是用户的哪一行。"""
    x = tg.tensor([0.0, 1.0], requires_grad=True)
    with tg.autograd.detect_anomaly():
        y = (x.sqrt() * 0).sum()
        with pytest.raises(RuntimeError, match=rf"{HERE}:\d+: y = \(x.sqrt\(\) \* 0\).sum\(\)"):
            y.backward()
        h = x.exp()
        loss = h.sum()
        h.add_(1)
        with pytest.raises(RuntimeError, match=rf"ExpBackward0 saved .* It was built at .*{HERE}:\d+: h = x.exp\(\)"):
            loss.backward()
        with pytest.raises(RuntimeError, match=rf"dimension -1 has sizes 2 and 3.*operand 0 was built at .*{HERE}"):
            h + tg.ones(3)


def test_message_without_recording_says_how_to_record() -> None:
    """没有打开异常检测时，报错没说怎样才能看到那一行。"""
    x = tg.tensor([0.0, 1.0], requires_grad=True)
    h = x.exp()
    loss = h.sum()
    h.add_(1)
    with pytest.raises(RuntimeError, match=r"detect_anomaly\(\) to see the line"):
        loss.backward()


def test_recording_does_not_outlive_the_block() -> None:
    """离开之后仍在记录或检查。"""
    assert not tg.is_anomaly_enabled()
    with tg.autograd.detect_anomaly(check_nan=False):
        assert tg.is_anomaly_enabled()
        assert not tg.is_anomaly_check_nan_enabled()
        x = tg.tensor([0.0], requires_grad=True)
        (x.sqrt() * 0).sum().backward()
    assert not tg.is_anomaly_enabled()
    switched = tg.autograd.set_detect_anomaly(True)
    assert tg.is_anomaly_enabled()
    switched.__exit__()
    assert tg.is_anomaly_enabled() is torch.is_anomaly_enabled()
