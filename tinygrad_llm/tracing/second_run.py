"""torch 那一列：同一个文件用 torch 再运行一遍，它的梯度填进记录。

流入：一份记录，与产生它的程序；流出：填好的 ``Value.torch_grad``，或一句没有填的原因。下一站：``terminal.py``。

两遍运行的是同样的行，所以「同一行、同样的形状、前向也算出同样的数」的两个张量就是同一个，按先后一一对应。
对不上的宁可空着，也不拿别的张量的梯度来充数。
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from tinygrad_llm.ops.bfloat16 import widened
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tracing.arrays import Snapshot, Summary, snapshot
from tinygrad_llm.tracing.loading import Source, loaded, own_line
from tinygrad_llm.tracing.trace import Trace


@dataclass(eq=False)
class _Met:
    """torch 那一遍里遇见的一个张量；就地改写之后是另一个。

    Attributes:
        line: 遇见它的、用户的那一行：中间结果是产生它的，叶子是第一次用来求导的。
        data: 那时的内容。
        grad: 最近一趟反传到达它的梯度；叶子是反传之后的 ``.grad``。
    """

    line: tuple[str, int] | None
    data: Snapshot
    grad: Snapshot | None = None


class _Watch:
    """看着 torch 的每一次调用：记下途经的、需要梯度的张量，挂上钩子取它们的梯度。

    Attributes:
        met: 遇见的张量，按先后。
    """

    def __init__(self, torch: Any, source: Source, limit: int) -> None:
        self.torch, self.source, self.limit = torch, source, limit
        self.met: list[_Met] = []
        self._latest: dict[int, tuple[Any, int, _Met]] = {}  # id → （张量，版本，是哪个）；留着张量，id 就不会再给别人
        self._is_in_hook = False

    def mode(self) -> Any:
        """``with`` 之内看着的 torch 模式。"""
        base = self.torch.overrides.TorchFunctionMode
        return type("Watching", (base,), {"__torch_function__": lambda _, *call: self.call(*call)})()

    def call(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """torch 的一次调用。"""
        kwargs = kwargs or {}
        if self._is_in_hook:
            return func(*args, **kwargs)
        leaves = [one for one in self.tensors((args, kwargs)) if one.requires_grad and one.is_leaf]
        before = [(one, self.kept(one)) for one in leaves if self.is_new(one)]
        result = func(*args, **kwargs)
        made = [
            one for one in self.tensors((result, args)) if one.requires_grad and not one.is_leaf
        ]  # 参数可能被就地改写
        if made:
            for one, data in before:
                self.meet(one, data)
        for one in made:
            if self.is_new(one):
                self.meet(one, self.kept(one))
        return result

    def is_new(self, tensor: Any) -> bool:
        """还没有遇见过，或此后就地改写过。"""
        _, version, _ = self._latest.get(id(tensor), (None, None, None))
        return bool(version != tensor._version)

    def meet(self, tensor: Any, data: Snapshot) -> None:
        """记下一个张量，挂上钩子。"""
        met, is_leaf, is_first = _Met(self.line(), data), tensor.is_leaf, id(tensor) not in self._latest
        self.met.append(met)
        self._latest[id(tensor)] = (tensor, tensor._version, met)
        if is_leaf and is_first:
            tensor.register_hook(lambda g: self.arrived(self._latest[id(tensor)][2], g))
            tensor.register_post_accumulate_grad_hook(lambda leaf: self.arrived(self._latest[id(leaf)][2], leaf.grad))
        elif not is_leaf:  # 就地改写之前挂的钩子，收到的是改写之前那个值的梯度
            tensor.register_hook(lambda g: self.arrived(met, g))

    def arrived(self, met: _Met, g: Any) -> None:
        """钩子：一份梯度到了。"""
        self._is_in_hook = True
        met.grad = self.kept(g)
        self._is_in_hook = False

    def kept(self, tensor: Any) -> Snapshot:
        """此刻的内容。"""
        plain = tensor.detach()
        if plain.dtype is self.torch.bfloat16:
            plain = plain.float()
        return snapshot(plain.resolve_conj().resolve_neg().numpy(), self.limit)

    def tensors(self, value: Any) -> Iterator[Any]:
        """嵌套的参数或结果里的张量。"""
        if isinstance(value, self.torch.Tensor):
            yield value
        elif isinstance(value, dict | list | tuple):
            for one in value.values() if isinstance(value, dict) else value:
                yield from self.tensors(one)

    def line(self) -> tuple[str, int] | None:
        """正在执行的、用户自己的最里面那一行。"""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not self.source.holds(frame.f_code.co_filename):
            frame = frame.f_back
        return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def fill_torch_gradients(trace: Trace, source: Source, function: str) -> str | None:
    """用 torch 运行同一个函数，填上 ``trace`` 里各个值的 ``torch_grad``。

    Args:
        trace: 记录。
        source: 程序的文件。
        function: 其中的函数。

    Returns:
        没有填、或没有填全的原因，一行英文；叶子都填了则为 ``None``。
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return "torch is not installed"
    watch = _Watch(torch, source, trace.limit)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            with loaded(source, on_torch=True) as module, watch.mode():
                getattr(module, function)()
    except (Exception, SystemExit) as error:
        first = str(error).strip().partition("\n")[0]
        return f"torch stopped at {own_line(error, source)}: {type(error).__name__}: {first}"
    return _matched(trace, watch.met)


def _matched(trace: Trace, met: list[_Met]) -> str | None:
    """逐个认出同一个张量，填上梯度；返回没有认出的叶子。

    从后往前认：torch 的一次调用在这里可能是几个算子，它的结果是其中最后的那个。
    """
    places: dict[Any, list[_Met]] = {}
    for one in met:
        places.setdefault((one.line, one.data.shape), []).append(one)
    uses = _first_uses(trace)
    missing = []
    for value in reversed(trace.values):
        if value.grad is None or value.id not in uses:
            continue
        candidates = places.get((uses[value.id], value.shape), [])
        found = next((one for one in reversed(candidates) if _agree(value.data, one.data)), None)
        if found is not None:
            candidates.remove(found)
            value.torch_grad = found.grad
        elif value.kind == "leaf":
            missing.append(value.label)
    if missing:
        labels = ", ".join(reversed(missing))
        return f"torch met other numbers than ours for {labels}: is there randomness besides manual_seed(0)?"
    return None


def _first_uses(trace: Trace) -> dict[int, tuple[str, int] | None]:
    """值的编号 → 用户的哪一行：中间结果是产生它的，叶子是第一次用来求导的。"""
    uses: dict[int, tuple[str, int] | None] = {}
    for node in trace.nodes:
        for value, need in zip(node.inputs, node.needs, strict=True):
            if need and value is not None:
                uses.setdefault(value, node.location)
        uses.update(dict.fromkeys(node.outputs, node.location))
    return uses


def _agree(ours: Snapshot, theirs: Snapshot) -> bool:
    """前向的数是否相同：容差只用来认人，取 dtype 精度的平方根，远大于舍入。"""
    if isinstance(ours, Summary) or isinstance(theirs, Summary):
        return isinstance(ours, Summary) and isinstance(theirs, Summary) and _near(_facts(ours), _facts(theirs), 1e-4)
    return _near(widened(ours), widened(theirs), float(np.sqrt(np.finfo(theirs.dtype).eps)))


def _facts(one: Summary) -> Array:
    """一份概要里的几个数。"""
    return np.array([one.min, one.max, one.mean, one.norm])


def _near(ours: Array, theirs: Array, tolerance: float) -> bool:
    scale = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0))
    return bool(np.allclose(ours, theirs, rtol=0.0, atol=tolerance * scale, equal_nan=True))
