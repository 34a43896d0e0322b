"""Tensor 与自动微分有关的方法：要不要梯度、反传、``.grad``、钩子。

流入：Tensor；流出：它在图上的位置与收到的梯度。下一站：``tinygrad_llm/autograd/hooks.py``。
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from typing import Any

from tinygrad_llm.autograd import engine, graph, hooks
from tinygrad_llm.autograd.inference import INFERENCE
from tinygrad_llm.autograd.mode import inference
from tinygrad_llm.autograd.writes import count
from tinygrad_llm.ops.bfloat16 import extras

_NOT_A_LEAF = (
    "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be "
    "populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf Tensor, "
    "use .retain_grad() on the non-leaf Tensor."
)


class Differentiating:
    """自动微分的属性与方法。

    Attributes:
        kept_grad: ``grad`` 的底层值；引擎与优化器之外都应当用 ``grad``。
    """

    array: Any
    base: Any
    dtype: Any
    hooks: Any
    kept_grad: Any
    needs_grad: bool
    node: Any
    refreshed: Any
    retains_grad: bool

    @property
    def grad(self) -> Any:
        """累加下来的梯度，Tensor 或 ``None``；中间结果要先 ``retain_grad()``，否则读它得到警告。"""
        found = self.kept_grad
        if found is None and self.node is not None and not self.retains_grad:
            warnings.warn(_NOT_A_LEAF, UserWarning, stacklevel=2)
        return found

    @grad.setter
    def grad(self, value: Any) -> None:
        """换掉梯度；类型、形状与 dtype 都要对得上。"""
        if value is not None:
            self._check_grad(value)
        self.kept_grad = value

    @grad.deleter
    def grad(self) -> None:
        """丢掉梯度。"""
        self.kept_grad = None

    def _check_grad(self, value: Any) -> None:
        if not isinstance(value, graph.tensor_type):
            given = type(value).__name__
            raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {given}")
        if value is self:
            raise RuntimeError("can't assign Variable as its own grad")
        if value.array.shape != self.array.shape:
            raise RuntimeError(
                f"attempting to assign a gradient of size '{list(value.array.shape)}' to a tensor of size "
                f"'{list(self.array.shape)}'. Please ensure that the gradient and the tensor are the same size"
            )
        if value.dtype is not self.dtype:
            raise RuntimeError(
                f"attempting to assign a gradient with dtype '{value.dtype}' to a tensor with dtype '{self.dtype}'. "
                "The gradient must match the tensor's dtype."
            )

    @property
    def requires_grad(self) -> bool:
        """是否需要梯度。"""
        return bool(self.refreshed().needs_grad)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise RuntimeError("requires_grad must be a bool")
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """设定是否需要梯度。

        Raises:
            RuntimeError: 不是浮点或复数类型，或想关掉中间结果的梯度。
        """
        if requires_grad and self.array.dtype.kind not in "fc":
            raise RuntimeError(f"only Tensors of floating point dtype can require gradients, got {self.dtype}")
        if self.array.dtype.kind == "c":
            extras.expect_complex()
        if not requires_grad and self.node is not None:
            raise RuntimeError("you can only change requires_grad flags of leaf variables; use detach() instead.")
        if requires_grad and self.base is INFERENCE and not inference.is_on:
            raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
        self.needs_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """不是由图上的运算产生的。"""
        return self.refreshed().node is None

    @property
    def grad_fn(self) -> Any:
        """产生它的节点；叶子为 ``None``。"""
        node = self.refreshed().node
        return node if node is None else node.public

    @property
    def output_nr(self) -> int:
        """自己是 ``grad_fn`` 的第几个输出；一次前向给出几个结果的运算里，只有自定义算子的结果共有一个节点。"""
        node = self.refreshed().node
        return 0 if node is None else int(node.output_nr)

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """从这里反传，把梯度累加到各叶子的 ``.grad``。

        Args:
            gradient: 本张量的梯度；标量可省略（取 1）。
            retain_graph: 是否留着图以便再次反传。
            create_graph: 反传自身是否也记图（求二阶导）。
            inputs: 只对这些 Tensor 累加。
        """
        engine.backward([self], [gradient], retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Any:
        """共享内存、但不在图上的 Tensor。"""
        result = graph.tensor_type.wrap(self.array)
        result.base = INFERENCE if self.base is INFERENCE else None
        return result

    def detach_(self) -> Any:
        """让自己离开图，成为叶子；从前的视图仍在图上，直到这块内存再被改写。

        Raises:
            RuntimeError: 自己是视图。
        """
        if self.base is not None and not self.is_inference():
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        self.node, self.needs_grad, self.detached_at = None, False, count(self.array)
        return self

    def is_inference(self) -> bool:
        """是不是在推理模式之内产生的。"""
        return self.base is INFERENCE

    def register_hook(self, hook: Callable[[Any], Any]) -> Any:
        """在梯度算好时调用 ``hook(grad)``；返回值不为 ``None`` 则替换梯度。

        Raises:
            RuntimeError: 本张量不需要梯度。
        """
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        return hooks.add(hooks.of(self if self.node is None else self.node).tensor, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Any], None]) -> Any:
        """在 ``.grad`` 累加完之后调用 ``hook(tensor)``；只用于叶子。

        Raises:
            RuntimeError: 不是叶子，或不需要梯度。
        """
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self.node is not None:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        return hooks.add(hooks.of(self).accumulated, hook)

    def retain_grad(self) -> None:
        """让中间结果也留下 ``.grad``；总在其它钩子之后执行，与 torch 一致。

        Raises:
            RuntimeError: 本张量不需要梯度。
        """
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self.node is None:
            return
        self.retains_grad = True
        tensor, node = weakref.ref(self), weakref.ref(self.node)  # 弱引用：节点不能反过来留住它的输出

        def keep(g: Any) -> None:
            kept = tensor()
            if kept is not None and kept.node is node():  # 就地改写之后，张量已经搬到新的节点
                kept.kept_grad = g.clone() if kept.kept_grad is None else kept.kept_grad + g

        hooks.of(self.node).keep = keep
