"""Tensor：一个数组，加上「梯度」「来自哪个节点」「要不要梯度」。

流入：数组与算子的结果；流出：PyTorch 写法的张量。运算方法按类别放在 ``methods/``，工厂函数在 ``creation.py``。
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import Node, apply
from tinygrad_llm.autograd.inference import mark_new
from tinygrad_llm.autograd.writes import count, record
from tinygrad_llm.cpu import CPU, META, device
from tinygrad_llm.methods.arithmetic import Arithmetic
from tinygrad_llm.methods.comparing import Comparing
from tinygrad_llm.methods.complexes import Complexes
from tinygrad_llm.methods.converting import Converting
from tinygrad_llm.methods.differentiating import Differentiating
from tinygrad_llm.methods.elementwise import Elementwise
from tinygrad_llm.methods.indexing import Indexing
from tinygrad_llm.methods.inplace import InPlace
from tinygrad_llm.methods.inplace_functions import InPlaceFunctions
from tinygrad_llm.methods.inplace_indexing import InPlaceIndexing
from tinygrad_llm.methods.linear_algebra import LinearAlgebra
from tinygrad_llm.methods.pairwise import Pairwise
from tinygrad_llm.methods.rearranging import Rearranging
from tinygrad_llm.methods.reducing import Reducing
from tinygrad_llm.methods.sampling import Sampling
from tinygrad_llm.methods.scattering import Scattering
from tinygrad_llm.methods.shaping import Shaping, Size, sizes
from tinygrad_llm.methods.sorting import Sorting
from tinygrad_llm.methods.spectrograms import Spectrograms
from tinygrad_llm.methods.splitting import Splitting
from tinygrad_llm.methods.statistics import Statistics
from tinygrad_llm.ops.bfloat16 import extras, is_bfloat16, rounded, same_dtype
from tinygrad_llm.ops.meta import is_meta
from tinygrad_llm.ops.op import Array, Op
from tinygrad_llm.printing import tensor_text


@graph.register_tensor_type
class Tensor(
    Arithmetic, Elementwise, Complexes, Pairwise, Comparing, Shaping, Splitting, Rearranging, Indexing, Scattering,
    Reducing, Statistics, Spectrograms, Sorting, LinearAlgebra, Converting, Sampling, InPlace, InPlaceIndexing,
    InPlaceFunctions, Differentiating,
):  # fmt: skip
    """张量。

    Args:
        *args: 几个整数是形状（内容未初始化）；嵌套列表或数组转成缺省浮点类型。新的代码请用 ``tinygrad_llm.tensor``。

    Attributes:
        array: 底下的 NumPy 数组。
        kept_grad: 累加下来的梯度（叶子才有），Tensor 或 ``None``；``grad`` 的底层值。
        node: 产生它的节点；叶子为 ``None``。
        needs_grad: 是否需要梯度（``requires_grad`` 的底层值）。
        base: 自己是谁的视图。
        base_node: 成为视图的那一刻，``base`` 来自哪个节点。
        view_path: 从 ``base`` 最初的样子到自己，依次经过的视图算子。
        way_back: 自己不是视图、就地换过布局（``transpose_`` 等）时，从现在的样子回到最初的样子的视图算子。
        detached_at: ``detach_()`` 的那一刻，这块内存被写过几次。
        one_of_many: 是 ``split``、``chunk`` 或 ``unbind`` 的一份；torch 不许在图上就地改写它们。
        viewed_in_no_grad: 是 ``no_grad`` 里取的视图（或它的视图）；torch 不许在图上就地改写它们。
        retains_grad: 中间结果是否也留下 ``.grad``。
        untracked: 从 ``.data`` 得来，写入不作记录，与 torch 一致。
        hooks: 叶子身上的钩子（见 ``autograd/hooks.py``）。
        grad_buffer: 叶子的梯度该放进哪里（见 ``parallel/ring.py``）；``None`` 则每次新申请。
    """

    is_node = False
    kept_grad: Tensor | None = None
    node: Node | None = None
    needs_grad: bool = False
    base: Tensor | None = None
    base_node: Node | None = None
    view_path: tuple[Any, ...] = ()
    way_back: tuple[Any, ...] = ()
    detached_at: int = -1
    one_of_many: bool = False
    viewed_in_no_grad: bool = False
    retains_grad: bool = False
    untracked: bool = False
    hooks: Any = None
    grad_buffer: Any = None

    array: Array

    def __init__(self, *args: Any) -> None:
        dtype = dtypes.get_default_dtype().numpy
        if len(args) != 1 or isinstance(args[0], (int, Size)):  # 早年的写法：几个整数是形状，内容未初始化
            self.array = np.empty(sizes(args) if args else (0,), dtype)
            return
        data = args[0]
        if isinstance(data, Tensor):  # 共享内存，与 torch 一致
            if not same_dtype(data.array.dtype, dtype):
                raise TypeError(f"expected a Tensor of {dtypes.get_default_dtype()}, got {data.dtype}")
            self.array = data.array
            return
        if not isinstance(data, (list, tuple, range, np.ndarray)):
            raise TypeError(f"new(): data must be a sequence (got {type(data).__name__})")
        self.array = np.array(data, dtype=dtype)

    @staticmethod
    def wrap(array: Array) -> Tensor:
        """给数组套上 Tensor，不复制。"""
        tensor = object.__new__(Tensor)
        tensor.array = array
        if extras.users:
            mark_new(tensor)
        return tensor

    @staticmethod
    def from_edge(array: Array, edge: Any) -> Tensor:
        """把反向时留下的数组接回图上；叶子就是原来那个 Tensor。"""
        if not isinstance(edge, Node):
            return edge  # type: ignore[no-any-return]
        tensor = Tensor.wrap(array)
        tensor.node, tensor.needs_grad = edge, True
        return tensor

    def __tinygrad_op__(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Tensor:
        """``Op`` 遇到 Tensor 时交到这里记图。"""
        return apply(op, args, attrs)  # type: ignore[no-any-return]

    @property
    def _version(self) -> int:
        """这块内存被就地写过几次。"""
        if self.is_inference():
            raise RuntimeError("Inference tensors do not track version counter.")
        return count(self.array)

    def touch(self) -> None:
        """自己的内存刚被写过：记下来；是 bfloat16 则舍入。"""
        if extras.low_precision and is_bfloat16(self.array.dtype):
            self.array[...] = rounded(self.array)
        if not self.untracked:
            record(self.array)

    # ---- 属性

    @property
    def shape(self) -> Size:
        """形状。"""
        return Size(self.array.shape)

    @property
    def dtype(self) -> dtypes.dtype:
        """元素类型。"""
        return dtypes.of(self.array)

    @property
    def device(self) -> device:
        """设备：CPU，或没有数据的 ``meta``。"""
        return META if extras.meta and is_meta(self.array) else CPU

    @property
    def ndim(self) -> int:
        """轴数。"""
        return self.array.ndim

    @property
    def itemsize(self) -> int:
        """每个元素的字节数。"""
        return self.dtype.itemsize

    @property
    def data(self) -> Tensor:
        """共享内存、不在图上的 Tensor，写它不留记录；赋值则换掉底下的数组。"""
        result = Tensor.wrap(self.array)
        result.untracked = True
        return result

    @data.setter
    def data(self, value: Tensor) -> None:
        self.array = value.array

    def dim(self) -> int:
        """轴数。"""
        return self.array.ndim

    def size(self, dim: int | None = None) -> Any:
        """形状，或某一轴的长度。"""
        return self.shape if dim is None else self.array.shape[dim]

    def numel(self) -> int:
        """元素总数。"""
        return int(self.array.size)

    nelement = numel

    def element_size(self) -> int:
        """每个元素的字节数。"""
        return self.dtype.itemsize

    def is_floating_point(self) -> bool:
        """是否浮点。"""
        return self.array.dtype.kind == "f"

    def __len__(self) -> int:
        if self.array.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return len(self.array)

    def __iter__(self) -> Iterator[Tensor]:
        if self.array.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __repr__(self) -> str:
        return tensor_text(self.refreshed())

    def _repr_html_(self) -> str:
        """笔记本里的样子：形状、dtype、范围与一张小直方图。"""
        from tinygrad_llm.printing_html import tensor_html

        return tensor_html(self)

    def __deepcopy__(self, memo: dict[Any, Any]) -> Tensor:
        if self.node is not None:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol"
            )
        copy = object.__new__(type(self))
        memo[id(self)] = copy
        copy.array, copy.needs_grad = np.array(self.array), self.needs_grad
        copy.kept_grad = None if self.kept_grad is None else self.kept_grad.detach().clone()
        return copy
