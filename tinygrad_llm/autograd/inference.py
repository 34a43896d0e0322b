"""推理模式：之内不记图，产生的 Tensor 此后也不许被图留下。

流入：``with inference_mode():`` 之内产生的 Tensor；流出：它们被反向留下、被就地改写时的错误，与 torch 相同。

推理张量的 ``base`` 是一个哨兵，于是它总走引擎的一般路线，别的张量不必为它多判断一次：每次有推理张量参与运算，
``refreshed`` 就叫一个旁观者来看这一步，看节点留下的是不是它。下一站：``graph.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_llm.autograd import mode
from tinygrad_llm.autograd.mode import inference, switch
from tinygrad_llm.ops.bfloat16 import extras

_SAVED = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in "
    "computation tracked by autograd. To work around this, you can make a clone to get a normal tensor and use it in "
    "autograd, or use `no_grad()` instead of `inference_mode()`."
)
_WRITTEN = (
    "Inplace update to inference tensor outside InferenceMode is not allowed. You can make a clone to get a normal "
    "tensor before doing inplace update."
)


class _Nobody:
    """推理张量的 ``base``：不是任何张量。它的 ``node`` 次次不同，``refreshed`` 因此总会停下来看一眼。"""

    needs_grad = False
    node = property(lambda self: object())


INFERENCE: Any = _Nobody()


def is_inference_mode_enabled() -> bool:
    """此刻是否在推理模式之内。"""
    return inference.is_on


class _Marker:
    """推理模式之内的旁观者：给每一步的结果打上记号。"""

    def __init__(self, outer: Any) -> None:
        self.outer = outer

    def forward(self, op: Any, args: Sequence[Any], attrs: dict[str, Any], output: Any) -> None:
        """一次算子调用完成：结果不是视图，就是推理张量。"""
        if output.base is None:
            output.base = INFERENCE
        if self.outer is not None:
            self.outer.forward(op, args, attrs, output)


class _Guard(_Marker):
    """推理模式之外的旁观者：只看一步，看这一步的节点是否留下了推理张量。"""

    is_armed = True

    def disarm(self) -> None:
        """看过了，让开。"""
        if switch.tracer is self:
            switch.tracer = self.outer
        if self.is_armed:
            self.is_armed = False
            extras.users -= 1

    def forward(self, op: Any, args: Sequence[Any], attrs: dict[str, Any], output: Any) -> None:
        """一次算子调用完成。

        Raises:
            RuntimeError: 它的节点留下了推理张量。
        """
        self.disarm()
        kept = () if output.node is None else output.node.saved or ()
        for arg in args:
            if getattr(arg, "base", None) is INFERENCE and any(value is arg.array for value in kept):
                raise RuntimeError(_SAVED)
        if self.outer is not None:
            self.outer.forward(op, args, attrs, output)


def watch_next() -> None:
    """有推理张量要参与运算：叫旁观者来看下一步。"""
    if switch.grad_enabled and not inference.is_on and not isinstance(switch.tracer, _Guard):
        switch.tracer = _Guard(switch.tracer)
        extras.users += 1


def refuse_saved(tensor: Any) -> None:
    """自定义算子要留下一个 Tensor。

    Raises:
        RuntimeError: 它是推理张量。
    """
    if tensor.base is INFERENCE:
        raise RuntimeError(_SAVED)


def refuse_written(tensor: Any) -> None:
    """就地改写一个 Tensor 之前。

    Raises:
        RuntimeError: 它是推理张量，而此刻不在推理模式之内。
    """
    if tensor.base is INFERENCE and not inference.is_on:
        raise RuntimeError(_WRITTEN)


def mark_new(tensor: Any) -> None:
    """刚造出来的 Tensor：在推理模式之内便是推理张量。"""
    if inference.is_on:
        tensor.base = INFERENCE


class inference_mode(mode.Decorating):  # noqa: N801  与 torch 同名
    """``with inference_mode():`` 之内不记图，产生的是推理张量；``inference_mode(False)`` 之内一切照常。

    Args:
        mode: 打开还是关闭；也可以直接是被装饰的函数。
    """

    def __new__(cls, mode: bool | Callable[..., Any] = True) -> Any:
        """``@inference_mode`` 不带括号时，``mode`` 就是函数。"""
        return super().__new__(cls) if isinstance(mode, bool) else cls()(mode)

    def __init__(self, mode: bool = True) -> None:
        self.mode = mode
        self._before: list[tuple[bool, bool, Any]] = []

    def clone(self) -> inference_mode:
        """同样的另一个。"""
        return type(self)(self.mode)

    def __enter__(self) -> None:
        self._before.append((inference.is_on, switch.grad_enabled, switch.tracer))
        inference.is_on, switch.grad_enabled = self.mode, not self.mode
        if self.mode:
            switch.tracer = _Marker(switch.tracer)
            extras.users += 1
        elif isinstance(switch.tracer, _Marker):
            switch.tracer = switch.tracer.outer

    def __exit__(self, *_: object) -> None:
        inference.is_on, switch.grad_enabled, switch.tracer = self._before.pop()
        extras.users -= self.mode
