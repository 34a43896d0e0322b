"""Tensor 的取下标、写下标与按下标收发。

流入：Tensor 与下标（整数、切片、``None``、``...``、整数或布尔 Tensor）；流出：Tensor。基本下标得到视图，与 torch 相同。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.autograd.mode import is_grad_enabled
from tinygrad_llm.methods.shaping import axis
from tinygrad_llm.ops import shape as sh


def plain_key(key: Any) -> Any:
    """下标里的 Tensor 与列表换成数组。"""
    if isinstance(key, tuple):
        return tuple(plain_key(part) for part in key)
    if isinstance(key, graph.tensor_type):
        # 留一份拷贝：反传之前下标被就地改写，梯度也不会加错地方
        return np.array(key.array) if key.array.ndim or key.array.dtype.kind == "b" else int(key.array)
    return np.asarray(key) if isinstance(key, list) else key


def torch_key(key: Any, shape: tuple[int, ...]) -> Any:
    """torch 先用掉下标里的整数，再看下标数组；NumPy 把整数也当作数组，于是轴的次序可能不同。

    只有「整数、数组、切片三者并存」时两者才不同：换成等价的一组纯数组下标。
    """
    if not isinstance(key, tuple) or not any(isinstance(part, np.ndarray) for part in key):
        return key
    integers = [isinstance(part, (int, np.integer)) and not isinstance(part, bool) for part in key]
    if not any(integers) or all(
        whole or isinstance(part, np.ndarray) for whole, part in zip(integers, key, strict=True)
    ):
        return key
    first: list[Any] = []
    for part in key:
        boolean = isinstance(part, np.ndarray) and part.dtype.kind == "b"
        first += [slice(None)] * (part.ndim if boolean else 1) if isinstance(part, np.ndarray) else [part]
    rest = tuple(
        part if isinstance(part, np.ndarray) or part is Ellipsis else slice(None)
        for whole, part in zip(integers, key, strict=True)
        if not whole
    )
    places = np.arange(math.prod(shape)).reshape(shape)[tuple(first)][rest]
    return np.unravel_index(places, shape)


class Indexing:
    """取下标与按下标收发的方法。"""

    array: Any
    needs_grad: Any
    touch: Any
    write: Any
    expand: Any

    def index_select(self, dim: int, index: Any) -> Any:
        """沿一根轴按下标取若干行。

        Raises:
            IndexError: 下标为负、越界或不是一维。
        """
        rows = index.array
        if rows.ndim > 1 or (rows.size and int(rows.min()) < 0):
            raise IndexError(f"index_select: index must be a vector of non-negative ids, got shape {rows.shape}")
        index = index.reshape(-1)
        return self[(slice(None),) * axis(dim, self.array.ndim) + (index,)]

    def gather(self, dim: int, index: Any) -> Any:
        """沿 ``dim`` 逐元素按下标取值。

        Raises:
            RuntimeError: 轴数不同、下标越界，或别的轴比自己长。
        """
        d, have, wanted = axis(dim, self.array.ndim), self.array.shape, index.array.shape
        if len(have) != len(wanted) or any(n > m for i, (n, m) in enumerate(zip(wanted, have, strict=True)) if i != d):
            raise RuntimeError(f"gather: index of shape {wanted} does not fit input of shape {have} along dim {d}")
        if index.array.size and have and not 0 <= index.array.min() <= index.array.max() < have[d]:
            raise RuntimeError(f"gather: index {index.array.max()} or {index.array.min()} is not in [0, {have[d]})")
        return apply(sh.gather, (self, index), {"dim": d})

    def masked_select(self, mask: Any) -> Any:
        """取出 ``mask`` 为真的元素，排成一维。"""
        return self.expand(np.broadcast_shapes(self.array.shape, mask.array.shape))[
            mask.expand(np.broadcast_shapes(self.array.shape, mask.array.shape))
        ]

    def __getitem__(self, key: Any) -> Any:
        plain = torch_key(plain_key(key), self.array.shape)
        try:
            result = apply(sh.index, (self,), {"key": plain})
        except IndexError as error:
            raise IndexError(f"index {key!r} does not fit a tensor of shape {self.array.shape}: {error}") from None
        if sh.is_basic(plain):
            result.watch(self, sh.index, {"key": plain})
        return result

    def __setitem__(self, key: Any, value: Any) -> None:
        plain = torch_key(plain_key(key), self.array.shape)
        tensor = isinstance(value, graph.tensor_type)
        if is_grad_enabled() and (self.needs_grad or (tensor and value.needs_grad)):
            filled = value if tensor else graph.tensor_type.wrap(np.asarray(value, self.array.dtype))
            self.write(apply(sh.index_put, (self, filled.to(dtypes.of(self.array))), {"key": plain}))
            return
        try:
            self.array[plain] = value.array if tensor else value
        except ValueError as error:
            raise RuntimeError(
                f"cannot write to index {key!r} of a tensor of shape {self.array.shape}: {error}"
            ) from None
        self.touch()
