"""参数的名字与次序同 torch：按位置传的参数绝不会落到另一个参数头上。"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch

import tinygrad_llm as tg

PAIRS: list[tuple[Any, Any]] = [
    (tg.nn.functional, torch.nn.functional),
    (tg.nn.init, torch.nn.init),
    (tg.nn.utils, torch.nn.utils),
    (tg.nn, torch.nn),
    (tg.optim, torch.optim),
    (tg.optim.lr_scheduler, torch.optim.lr_scheduler),
    (SimpleNamespace(grad=tg.autograd.grad, backward=tg.autograd.backward), torch.autograd),
]


def _callables() -> Iterator[tuple[str, Any, Any]]:
    """两边都有的函数、类的构造函数与方法。"""
    for ours, theirs in PAIRS:
        for name, mine in vars(ours).items():
            other = getattr(theirs, name, None)
            if name.startswith("_") or not callable(mine) or not callable(other):
                continue
            yield name, mine, other
            for method in dir(mine) if inspect.isclass(mine) else ():
                if not method.startswith("_") and inspect.isfunction(getattr(mine, method)) and hasattr(other, method):
                    yield f"{name}.{method}", getattr(mine, method), getattr(other, method)


def _positional(function: Any) -> list[str] | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):  # C 实现的函数没有签名
        return None
    if any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in parameters):  # 外壳；或 3.13 起 C 方法的 (self, /)
        return None
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def test_positional_parameters_have_torchs_names_and_order() -> None:
    """有参数的位置或名字与 torch 不同：照 torch 的写法传参会传错。"""
    checked, wrong = 0, []
    for name, mine, other in _callables():
        ours, theirs = _positional(mine), _positional(other)
        if ours is None or theirs is None:
            continue
        checked += 1
        if theirs[: len(ours)] != ours:
            wrong.append(f"{name}: {ours}, torch has {theirs}")
    assert not wrong, "\n".join(wrong)
    assert checked > 80


def test_keyword_parameters_exist_in_torch() -> None:
    """有只能按名字传的参数是 torch 没有的。"""
    for name, mine, other in _callables():
        try:
            parameters = inspect.signature(mine).parameters.values()
            known = inspect.signature(other).parameters
        except (ValueError, TypeError):
            continue
        if any(p.kind is p.VAR_KEYWORD for p in known.values()):
            continue
        extra = {f"{name}.{p.name}" for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in known}
        assert not extra, extra
