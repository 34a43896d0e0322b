"""Tensor：一个数组，加上「梯度」「来自哪个节点」「要不要梯度」。

流入：数组与算子的结果；流出：PyTorch 写法的张量。运算方法按类别放在 ``methods/``，工厂函数在 ``creation.py``。
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import engine, graph
from tinygrad_llm.autograd.graph import Node, apply
from tinygrad_llm.autograd.writes import count, record
from tinygrad_llm.cpu import CPU, device
from tinygrad_llm.methods.arithmetic import Arithmetic
from tinygrad_llm.methods.comparing import Comparing
from tinygrad_llm.methods.converting import Converting
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
from tinygrad_llm.methods.shaping import Shaping, Size
from tinygrad_llm.methods.sorting import Sorting
from tinygrad_llm.methods.splitting import Splitting
from tinygrad_llm.methods.statistics import Statistics
from tinygrad_llm.ops.bfloat16 import extras, is_bfloat16, rounded
from tinygrad_llm.ops.op import Array, Op
from tinygrad_llm.printing import tensor_text


@graph.register_tensor_type
class Tensor(
    Arithmetic, Elementwise, Pairwise, Comparing, Shaping, Splitting, Rearranging, Indexing, Scattering, Reducing,
    Statistics, Sorting, LinearAlgebra, Converting, Sampling, InPlace, InPlaceIndexing, InPlaceFunctions,
):  # fmt: skip
    """张量。

    Args:
        data: 数、嵌套列表、数组或 Tensor；转成缺省浮点类型。要保留整数类型请用 ``tinygrad_llm.tensor``。

    Attributes:
        array: 底下的 NumPy 数组。
        grad: 累加下来的梯度（叶子才有），Tensor 或 ``None``。
        node: 产生它的节点；叶子为 ``None``。
        needs_grad: 是否需要梯度（``requires_grad`` 的底层值）。
        base: 自己是谁的视图。
        base_node: 成为视图的那一刻，``base`` 来自哪个节点。
        view_path: 从 ``base`` 到自己依次经过的视图算子。
        one_of_many: 是 ``split``、``chunk`` 或 ``unbind`` 的一份；torch 不许在图上就地改写它们。
        retains_grad: 中间结果是否也留下 ``.grad``。
        untracked: 从 ``.data`` 得来，写入不作记录，与 torch 一致。
        hooks: 叶子梯度上的钩子。
        accumulate_hooks: 梯度累加完之后的钩子。
    """

    is_node = False
    grad: Tensor | None = None
    node: Node | None = None
    needs_grad: bool = False
    base: Tensor | None = None
    base_node: Node | None = None
    view_path: tuple[Any, ...] = ()
    one_of_many: bool = False
    retains_grad: bool = False
    untracked: bool = False
    hooks: list[Callable[[Any], Any]] | None = None
    accumulate_hooks: list[Callable[[Any], Any]] | None = None

    def __init__(self, data: Any) -> None:
        source = data.array if isinstance(data, Tensor) else data
        self.array: Array = np.array(source, dtype=dtypes.get_default_dtype().numpy)

    @staticmethod
    def wrap(array: Array) -> Tensor:
        """给数组套上 Tensor，不复制。"""
        tensor = object.__new__(Tensor)
        tensor.array = array
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
        return count(self.array)

    def touch(self) -> None:
        """自己的内存刚被写过：记下来；是 bfloat16 则舍入。"""
        if extras.low_precision and is_bfloat16(self.array.dtype):
            self.array[...] = rounded(self.array)
        if not self.untracked:
            record(self.array)

    # ---- 自动微分

    @property
    def requires_grad(self) -> bool:
        """是否需要梯度。"""
        return bool(self.refreshed().needs_grad)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """设定是否需要梯度。

        Raises:
            RuntimeError: 不是浮点类型，或想关掉中间结果的梯度。
        """
        if requires_grad and self.array.dtype.kind != "f":
            raise RuntimeError(f"only Tensors of floating point dtype can require gradients, got {self.dtype}")
        if not requires_grad and self.node is not None:
            raise RuntimeError("you can only change requires_grad flags of leaf variables; use detach() instead.")
        self.needs_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """不是由图上的运算产生的。"""
        return self.refreshed().node is None

    @property
    def grad_fn(self) -> Node | None:
        """产生它的节点。"""
        return self.refreshed().node  # type: ignore[no-any-return]

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """从这里反传，把梯度累加到各叶子的 ``.grad``。

        Args:
            gradient: 本张量的梯度；标量可省略（取 1）。
            retain_graph: 是否留着图以便再次反传。
            create_graph: 反传自身是否也记图（求二阶导）。
            inputs: 只对这些叶子累加。
        """
        engine.backward([self], [gradient], retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """共享内存、但不在图上的 Tensor。"""
        result = Tensor.wrap(self.array)
        return result

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """在梯度算好时调用 ``hook(grad)``；返回值不为 ``None`` 则替换梯度。

        Raises:
            RuntimeError: 本张量不需要梯度。
        """
        if not self.needs_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        owner: Any = self if self.node is None else self.node
        owner.hooks = sorted([*(owner.hooks or []), hook], key=lambda h: hasattr(h, "runs_last"))
        return RemovableHandle(owner, "hooks", hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """在 ``.grad`` 累加完之后调用 ``hook(tensor)``；只用于叶子。

        Raises:
            RuntimeError: 不是叶子。
        """
        if self.node is not None:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        self.accumulate_hooks = [*(self.accumulate_hooks or []), hook]
        return RemovableHandle(self, "accumulate_hooks", hook)

    def retain_grad(self) -> None:
        """让中间结果也留下 ``.grad``；总在其它钩子之后执行，与 torch 一致。

        Raises:
            RuntimeError: 本张量不需要梯度。
        """
        if not self.needs_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self.node is None or self.retains_grad:
            return
        self.retains_grad = True
        alive = weakref.ref(self)

        def keep(g: Tensor) -> None:
            tensor = alive()
            if tensor is not None:
                tensor.grad = g.detach().clone() if tensor.grad is None else tensor.grad + g.detach()

        keep.runs_last = True  # type: ignore[attr-defined]
        self.register_hook(keep)

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
        """设备，总是 CPU。"""
        return CPU

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

    def __deepcopy__(self, memo: dict[Any, Any]) -> Tensor:
        if self.node is not None:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol"
            )
        copy = object.__new__(type(self))
        memo[id(self)] = copy
        copy.array, copy.needs_grad = np.array(self.array), self.needs_grad
        copy.grad = None if self.grad is None else self.grad.detach().clone()
        return copy


class RemovableHandle:
    """``register_hook`` 的返回值；``remove()`` 摘掉钩子。"""

    def __init__(self, owner: Any, attribute: str, hook: Any) -> None:
        self.owner, self.attribute, self.hook = owner, attribute, hook

    def remove(self) -> None:
        """摘掉钩子；重复调用无妨。"""
        hooks = getattr(self.owner, self.attribute) or []
        setattr(self.owner, self.attribute, [h for h in hooks if h is not self.hook] or None)
