"""Tensor 的归约与判断。

流入：Tensor 与 torch 写法的 ``dim``（整数、元组或 ``None``）；流出：Tensor，或有名字的（值，下标）。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import dtypes, return_types
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.autograd.shortcuts import unary_method
from tinygrad_llm.methods.arithmetic import as_float, binary
from tinygrad_llm.methods.numpy_names import numpy_names
from tinygrad_llm.methods.operands import refuse
from tinygrad_llm.methods.shaping import axis, shaped
from tinygrad_llm.ops import activation, reduce, shape
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops.op import Op


def dims(dim: Any, ndim: int) -> tuple[int, ...]:
    """``None`` 与空元组表示全部轴；整数与元组统一成非负轴号的元组。

    Raises:
        TypeError: ``dim`` 不是整数。
        RuntimeError: 同一根轴写了两遍。
    """
    if dim is None or dim == () or dim == []:
        return tuple(range(ndim))
    listed = dim if isinstance(dim, (tuple, list)) else (dim,)
    if not all(isinstance(d, (int, np.integer)) and not isinstance(d, bool) for d in listed):
        raise TypeError(f"dim must be an int or a tuple of ints, got {dim!r}")
    found = tuple(sorted([axis(d, ndim) for d in listed]))
    if len(set(found)) < len(found):
        raise RuntimeError(f"a dim appears multiple times in the list of dims {dim!r}")
    return found if ndim else ()


def filled_dims(name: str, x: Any, dim: Any) -> tuple[int, ...]:
    """同 ``dims``；最值没有初值，不能沿长度为 0 的轴取。

    Raises:
        IndexError: 指定的某根轴长度为 0。
        RuntimeError: 没有指定轴，而张量是空的。
    """
    over = dims(dim, x.array.ndim)
    if x.array.size == 0 and any(x.array.shape[d] == 0 for d in over):
        problem = f"{name}(): expected reduction dim {over} to have non-zero size, got shape {x.array.shape}"
        raise RuntimeError(problem) if dim is None or dim == () else IndexError(problem)
    return over


_sum_all = unary_method(reduce.sum_all, lambda op, x: apply(op, (x,), {}))


def _reduced(op: Op, x: Any, dim: Any, keepdim: bool) -> Any:
    if type(dim) is int and x.array.ndim:  # 最常见的一种，不必走 dims 的各项检查
        return apply(op, (x,), {"dim": (axis(dim, x.array.ndim),), "keepdim": keepdim})
    return apply(op, (x,), {"dim": dims(dim, x.array.ndim), "keepdim": keepdim})


def floating(x: Any, name: str, error: type[RuntimeError] = RuntimeError) -> Any:
    """原样返回浮点或复数张量。

    Raises:
        RuntimeError: 是整数或布尔；``error`` 指明是它的哪个子类。
    """
    if x.array.dtype.kind not in "fc":
        raise error(f"{name}(): expected a floating-point tensor, got {dtypes.of(x.array)}")
    return x


def as_dtype(x: Any, dtype: Any) -> Any:
    """换成 ``dtype``；``None`` 表示不换。"""
    return x if dtype is None else x.to(dtype)


def picked(kind: Any, x: Any, index: Any, d: int, keepdim: bool) -> Any:
    """沿 ``d`` 按大小选出的下标取值，组成有名字的（值，下标）；梯度送回被取的位置。

    Args:
        kind: ``return_types`` 里的类。
        x: Tensor。
        index: 下标数组，``d`` 轴保留；``x`` 是 0 维时形状为 ``(1,)``。
        d: 非负轴号。
        keepdim: 是否保留这根轴。

    Returns:
        ``kind`` 的一个实例。

    Raises:
        NotImplementedError: 复数没有大小。
    """
    refuse(kind.__name__, x, "c")
    if x.array.ndim == 0:
        return kind((x.clone(), graph.tensor_type.wrap(np.zeros((), np.int64))))
    wrap = graph.tensor_type.wrap
    values = apply(shape.gather, (x, wrap(index)), {"dim": d})
    if keepdim:
        return kind((values, wrap(index)))
    index = index.squeeze(d)
    return kind((shaped(values, index.shape), wrap(index)))


@numpy_names
class Reducing:
    """归约的方法。"""

    array: Any
    to: Any
    flatten: Any
    isnan: Any
    reshape: Any

    def sum(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        """求和；整数与布尔累加成 int64。"""
        if dim is None and dtype is None and not keepdim:
            return _sum_all(self)
        return as_dtype(_reduced(reduce.sum, as_dtype(self, dtype), dim, keepdim), dtype)

    def mean(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        """均值。

        Raises:
            RuntimeError: 不是浮点类型。
        """
        return _reduced(reduce.mean, floating(as_dtype(self, dtype), "mean"), dim, keepdim)

    def prod(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        """求积；整数与布尔累乘成 int64。"""
        x: Any = as_dtype(self, dtype)
        if dim is None or not x.array.ndim:
            dims(dim, x.array.ndim)
            return as_dtype(apply(reduce.prod, (x.flatten(),), {"dim": 0, "keepdim": False}), dtype)
        return as_dtype(apply(reduce.prod, (x,), {"dim": axis(dim, x.array.ndim), "keepdim": keepdim}), dtype)

    def nansum(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        """求和，NaN 当作 0。"""
        refuse("nansum", self, "c")
        op = reduce.nansum if self.array.dtype.kind == "f" else reduce.sum
        x: Any = self if self.array.dtype.kind == "f" else as_dtype(self, dtype)
        return as_dtype(_reduced(op, x, dim, keepdim), dtype)

    def nanmean(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        """不计 NaN 的均值。

        Raises:
            RuntimeError: 不是浮点类型。
        """
        x: Any = floating(as_dtype(floating(self, "nanmean"), dtype), "nanmean")
        return x.nansum(dim, keepdim) / (~x.isnan()).sum(dim, keepdim)

    def amax(self, dim: Any = (), keepdim: bool = False) -> Any:
        """最大值；并列者平分梯度。"""
        return _reduced(reduce.amax, self, filled_dims("amax", self, dim), keepdim)

    def amin(self, dim: Any = (), keepdim: bool = False) -> Any:
        """最小值；并列者平分梯度。"""
        return _reduced(reduce.amin, self, filled_dims("amin", self, dim), keepdim)

    def aminmax(self, *, dim: int | None = None, keepdim: bool = False) -> Any:
        """最小值与最大值。"""
        return return_types.aminmax((self.amin(dim, keepdim), self.amax(dim, keepdim)))

    def max(self, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        """全体最大值；给 ``dim`` 则返回（值，下标）；给另一个 Tensor 则逐元素取大。"""
        return self._extreme("max", ew.maximum, dim if other is None else other, keepdim)

    def min(self, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        """全体最小值；给 ``dim`` 则返回（值，下标）；给另一个 Tensor 则逐元素取小。"""
        return self._extreme("min", ew.minimum, dim if other is None else other, keepdim)

    def _extreme(self, name: str, pairwise: Op, dim: Any, keepdim: bool) -> Any:
        if isinstance(dim, graph.tensor_type):
            return binary(pairwise, self, dim)
        over = filled_dims(name, self, dim)
        if dim is None:
            return apply(reduce.pick, (self,), {"which": name})
        if isinstance(dim, (tuple, list)):
            raise TypeError(f"{name}(): dim must be an int, got {dim!r}")
        d = over[0] if over else 0
        arg = np.argmax if name == "max" else np.argmin
        index = np.expand_dims(arg(self.array, axis=d), d) if over else None
        return picked(getattr(return_types, name), self, index, d, keepdim)

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """最大值的下标；并列取第一个。

        Raises:
            IndexError: 张量是空的。
            RuntimeError: 布尔或复数类型。
        """
        return self._arg("argmax", dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """最小值的下标；并列取第一个。

        Raises:
            IndexError: 张量是空的。
            RuntimeError: 布尔或复数类型。
        """
        return self._arg("argmin", dim, keepdim)

    def _arg(self, name: str, dim: int | None, keepdim: bool) -> Any:
        if self.array.dtype.kind in "bc":
            raise RuntimeError(f"{name}(): does not support {dtypes.of(self.array)} input")
        over = filled_dims(name, self, tuple(range(self.array.ndim)) if dim is None else axis(dim, self.array.ndim))
        whole = dim is None or not over
        found = getattr(np, name)(self.array, axis=None if whole else over[0], keepdims=keepdim)
        return graph.tensor_type.wrap(np.asarray(found))

    def logsumexp(self, dim: Any, keepdim: bool = False) -> Any:
        """``ln Σ eˣ``。"""
        return _reduced(reduce.logsumexp, as_float(self), dim, keepdim)

    def softmax(self, dim: int, dtype: Any = None) -> Any:
        """沿 ``dim`` 归一化成概率。

        Raises:
            RuntimeError: 不是浮点类型，也没给 ``dtype``。
        """
        return self._normalized(activation.softmax, dim, dtype)

    def log_softmax(self, dim: int, dtype: Any = None) -> Any:
        """softmax 的对数。

        Raises:
            RuntimeError: 不是浮点类型，也没给 ``dtype``。
        """
        return self._normalized(activation.log_softmax, dim, dtype)

    def _normalized(self, op: Op, dim: int, dtype: Any) -> Any:
        x: Any = floating(as_dtype(self, dtype), op.name, NotImplementedError)
        d = axis(dim, x.array.ndim)
        if x.array.ndim:
            return apply(op, (x,), {"dim": d})
        return apply(op, (x.reshape(1),), {"dim": d}).reshape(())

    def all(self, dim: Any = None, keepdim: bool = False) -> Any:
        """是否全为真。"""
        return self._truth(np.all, dim, keepdim)

    def any(self, dim: Any = None, keepdim: bool = False) -> Any:
        """是否有真。"""
        return self._truth(np.any, dim, keepdim)

    def _truth(self, function: Any, dim: Any, keepdim: bool) -> Any:
        over = () if isinstance(dim, (tuple, list)) and not dim else dims(dim, self.array.ndim)
        found = np.asarray(function(self.array, axis=over, keepdims=keepdim), order="C")
        byte = self.array.dtype == np.uint8  # torch 旧时以 uint8 作布尔，这里还留着痕迹
        return graph.tensor_type.wrap(found.astype(np.uint8) if byte else found)

    def count_nonzero(self, dim: Any = None) -> Any:
        """非零元素的个数。"""
        found = np.count_nonzero(self.array, axis=dims(dim, self.array.ndim))
        return graph.tensor_type.wrap(np.asarray(found, np.int64))
