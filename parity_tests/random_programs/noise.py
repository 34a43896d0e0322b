"""一个程序在 torch 上自己会散开多少：每一步的输入与结果都随机挪动一个 ulp，再跑一遍。

流入：``Program`` 与随机数；流出：``Outcome``，拿它与原来的一遍相比，就知道舍入误差能传到多大。下一站：``judging.py``。

只挪会舍入的算子：换形状、取下标、比较、取大取小都是精确的。结果直接改在内存里，反传留下的那一份也跟着变，
于是 ``tanh`` 饱和之后的 ``1 - y²`` 一类也量得出来。就地写入与视图的结果不挪。
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from parity_tests.random_programs.program import Leaf, Program, Ref, Step, mapped
from parity_tests.random_programs.running import Outcome, leaf_tensor, observed, perform

EXACT = frozenset((
    "[]", ".reshape", ".view", ".transpose", ".permute", ".unsqueeze", ".squeeze", ".movedim", ".flatten",
    ".swapaxes", ".adjoint", ".select", ".narrow", ".diagonal", ".unfold", ".expand", ".detach", ".flip", ".roll",
    ".tril", ".triu", ".repeat", ".repeat_interleave", ".contiguous", ".clone", "nn.functional.pad", "cat", "stack",
    ".split", ".chunk", ".unbind", ".tensor_split", ".index_select", ".gather", ".take_along_dim", "take",
    "nn.functional.embedding", ".scatter", ".masked_fill", ".index_fill", ".select_scatter", ".relu", ".abs",
    ".neg", ".sign", ".floor", ".ceil", ".round", ".trunc", ".positive", ".nan_to_num", "nn.functional.relu",
    "nn.functional.relu6", "nn.functional.hardtanh", "nn.functional.hardshrink", ">", "<", ">=", "==", "maximum",
    "minimum", "fmax", "fmin", "where", "clamp", ".clamp", ".amax", ".amin", ".max", ".min", ".median", ".sort",
    ".cummax", ".topk", ".kthvalue", "ones", "zeros_like", "ones_like", "full_like", ".to", ".retain_grad",
    "nn.functional.max_pool1d",
))  # fmt: skip


def run_with_noise(program: Program, data: np.random.Generator) -> Outcome:
    """在 torch 上跑一遍，会舍入的每一步都带上一个 ulp 的噪声。"""

    def made(node: Leaf | Step, values: dict[int, Any]) -> Any:
        if isinstance(node, Leaf):
            return leaf_tensor(torch, node, {})
        if node.target in EXACT or node.writes:
            return perform(torch, node, values)
        noisy = {id: _moved(value, data) for id, value in values.items() if id in _read(node)}
        if node.target == "nn.functional.gelu":
            return _gelu_by_steps(noisy[node.args[0].id], ("approximate", "tanh") in node.kwargs, data)
        found = perform(torch, node, {**values, **noisy})
        for one in found if isinstance(found, tuple) else (found,):
            _move_in_place(one, data)
        return found

    return observed(torch, program, made)


def _read(step: Step) -> set[int]:
    found: set[int] = set()

    def note(one: Any) -> Any:
        if isinstance(one, Ref):
            found.add(one.id)
        return one

    mapped(step.args, note)
    for _, value in step.kwargs:
        mapped(value, note)
    return found


def _ulps(value: Any, data: np.random.Generator) -> Any:
    unit = torch.finfo(value.dtype).eps
    return value.detach() * torch.tensor(data.integers(-1, 2, tuple(value.shape)) * unit, dtype=value.dtype)


def _moved(value: Any, data: np.random.Generator) -> Any:
    if not isinstance(value, torch.Tensor) or not value.dtype.is_floating_point:
        return value
    return value + _ulps(value, data)


def _move_in_place(value: Any, data: np.random.Generator) -> None:
    if isinstance(value, torch.Tensor) and value.dtype.is_floating_point and not value._is_view():
        value.data.add_(_ulps(value, data))


def _gelu_by_steps(x: Any, by_tanh: bool, data: np.random.Generator) -> Any:
    """GELU 拆开来算：``1 + erf`` 与 ``1 + tanh`` 在里面相消，从外面挪不到它们。"""
    bend = ((x + 0.044715 * x * x * x) * (2 / torch.pi) ** 0.5).tanh() if by_tanh else (x / 2**0.5).erf()
    _move_in_place(bend, data)
    return 0.5 * x * (1 + bend)
