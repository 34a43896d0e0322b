"""``meta`` 设备：先搭好没有数据的模型，再分配内存或换上文件里的权重；与 torch 一样不抽随机数、不读数据。"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import same, same_error, table


def _model(m: Any) -> Any:
    nn = m.nn
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2, bias=False))
    model.register_buffer("angles", m.outer(m.arange(3.0), m.arange(2.0)).cos()[None], persistent=False)
    model.register_buffer("mask", m.tril(m.ones(3, 3, dtype=m.bool)))
    return model


def _emptied(m: Any) -> Any:
    """搭在 ``meta`` 上，分配内存，再写初值：随机数从头抽起。"""
    m.manual_seed(0)
    with m.device("meta"):
        model = _model(m)
        m.nn.init.trunc_normal_(model[1].weight)
        m.nn.init.orthogonal_(model[1].weight)
    where = [str(t.device) for t in (*model.parameters(), *model.buffers())]
    model.to_empty(device="cpu")
    for p in model.parameters():
        m.nn.init.normal_(p)
    return where, list(model.parameters()), [str(p.device) for p in model.parameters()], model.angles.shape


def _assigned(m: Any) -> Any:
    """搭在 ``meta`` 上，直接换上别处的权重。"""
    m.manual_seed(1)
    full = _model(m)
    with m.device("meta"):
        model = _model(m)
    keys = model.load_state_dict(full.state_dict(), assign=True)
    y = model[3](model[1](model[0](m.tensor([1, 2]))))
    return list(keys.missing_keys), y, model[1].weight.requires_grad, model.angles.is_meta


def _not_assigned(m: Any) -> Any:
    """不换而是拷：什么也没发生，只提醒。"""
    model = m.nn.Linear(2, 2, device="meta")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.load_state_dict(m.nn.Linear(2, 2).state_dict())
    return len(caught), model.weight.is_meta


def _text(m: Any) -> Any:
    x = m.empty(2, 3, device="meta")
    return [repr(t) for t in (x, x.bfloat16(), x.long(), m.nn.Linear(1, 2, device="meta").weight)]


def _kin(m: Any) -> Any:
    x = m.ones(2, 2, device="meta")
    kin = [
        x + 1, x.t(), x[0], x.detach(), x.data, x.clone(), m.zeros_like(x), m.randn_like(x), x.new_zeros(2),
        x * m.ones(()), m.empty_like(x, device="cpu"), x.half(), x.softmax(0), m.cat([x, x]), x.view(4)[1:], x**2,
    ]  # fmt: skip
    return [str(t.device) for t in kin]


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "to_empty": _emptied,
    "assign": _assigned,
    "no assign": _not_assigned,
    "repr": _text,
    "moved there": lambda m: [str(p.device) for p in m.nn.Linear(1, 1).to("meta").parameters()],
    "moved there in another type": lambda m: str(m.nn.Linear(1, 1).to("meta", m.float64).weight.dtype).split(".")[-1],
    "a copy of it": lambda m: str(copy.deepcopy(m.nn.Linear(1, 1, device="meta")).weight.device),
    "shapes": lambda m: (m.ones(2, 3, device="meta") @ m.ones(3, 4, device="meta")).view(4, 2).sum(0).shape,
    "its kin": _kin,
    "questions": lambda m: [(x := m.ones(2, device="meta")).is_meta, x.is_cpu, x.numel(), x.device.type, x.stride()],
    "a graph": lambda m: (m.ones(2, device="meta", requires_grad=True) * 2).sum().requires_grad,
    "written": lambda m: str(m.ones(2, device="meta").fill_(3).copy_(m.ones(2)).device),
}  # fmt: skip


@pytest.mark.parametrize("program", table(PROGRAMS))
def test_meta_is_torchs(program: Callable[[Any], Any]) -> None:
    """没有数据的张量抽走了随机数，丢了标记，或换不上权重。"""
    same(program, "float32")


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "item": lambda m: m.ones((), device="meta").item(),
    "bool": lambda m: bool(m.ones((), device="meta")),
    "float": lambda m: float(m.ones((), device="meta")),
    "tolist": lambda m: m.ones(2, device="meta").tolist(),
    "numpy": lambda m: m.ones(2, device="meta").numpy(),
    "cpu": lambda m: m.ones(2, device="meta").cpu(),
    "to": lambda m: m.ones(2, device="meta").to("cpu"),
    "module to": lambda m: m.nn.Linear(2, 2, device="meta").to("cpu"),
    "mixed": lambda m: m.ones(2, device="meta") + m.ones(2),
    "forward": lambda m: m.nn.Linear(2, 2, device="meta")(m.ones(1, 2)),
    "copied from": lambda m: m.ones(2).copy_(m.ones(2, device="meta")),
}


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_data_that_is_not_there_is_not_read(mistake: Callable[[Any], Any]) -> None:
    """从没有数据的张量里读出了数。"""
    same_error(mistake)


def test_nothing_is_slower_afterwards() -> None:
    """离开 ``meta`` 之后，引擎仍走慢的路。"""
    from tinygrad_llm.ops.bfloat16 import extras

    before = extras.users
    with tg.device("meta"):
        assert extras.users == before + 1
        tg.ones(2)
    assert extras.users == before
