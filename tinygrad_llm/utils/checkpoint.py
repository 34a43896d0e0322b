"""用计算换内存：前向不留中间结果，反传时再算一遍。名字与 ``torch.utils.checkpoint`` 相同。

流入：函数与它的输入；流出：它的结果，反传到这里时重新调用函数。随机数与 autocast 恢复成前向时的样子，
丢弃的掩码与中间结果的类型因此相同。

不可重入的一种（``use_reentrant=False``，推荐）照常记图，只是留下的每个数组都换成一个号码；取用时重算一遍，按号码填上。
可重入的一种在前向时不记图，反传时在里面再反传一趟。下一站：``tinygrad_llm/autograd/saved.py``。
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from tinygrad_llm.autograd import backward
from tinygrad_llm.autograd.function import Function
from tinygrad_llm.autograd.mode import enable_grad, is_grad_enabled, switch
from tinygrad_llm.autograd.precision import Autocast
from tinygrad_llm.autograd.saved import packed, saved_tensors_hooks
from tinygrad_llm.autograd.saved import unpacked as restored
from tinygrad_llm.autograd.writes import clock, written_since
from tinygrad_llm.cpu import DeviceError
from tinygrad_llm.ops.bfloat16 import extras
from tinygrad_llm.random import fork_rng, get_rng_state, set_rng_state
from tinygrad_llm.tensor import Tensor

Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]


class CheckpointError(RuntimeError):
    """重算的结果与前向时对不上。"""


def noop_context_fn() -> Contexts:
    """前向与重算都不另加环境。"""
    return contextlib.nullcontext(), contextlib.nullcontext()


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], Contexts] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """调用 ``function``，但不留下它的中间结果。

    Args:
        function: 要重算的函数。
        *args: 它的位置参数。
        use_reentrant: 用哪一种；不写则警告，并用可重入的一种。
        context_fn: 返回前向与重算各自的环境；只用于不可重入的一种。
        determinism_check: ``"default"`` 核对重算所得的形状与 dtype，``"none"`` 不核对。
        debug: 只能为假：没有逐个算子的记录可打印。
        early_stop: 需要的都算出来了，就不再往下算；只用于不可重入的一种。
        **kwargs: 它的关键字参数；另有 ``preserve_rng_state``（缺省为真）：重算时是否恢复随机数的状态。

    Returns:
        ``function`` 的结果。

    Raises:
        NotImplementedError: ``debug=True``。
        ValueError: 选项不认得，或可重入的一种用了它没有的选项。
    """
    if debug:
        raise NotImplementedError("checkpoint: debug=True is not offered, there is no trace of operators to print")
    if use_reentrant is None:
        warnings.warn(_BE_EXPLICIT.format("checkpoint"), UserWarning, stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn:
            raise ValueError("Passing `context_fn` is only supported when use_reentrant=False.")
        return CheckpointFunction.apply(function, preserve, *args)
    if determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'], but got {determinism_check}")
    if not is_grad_enabled():
        return function(*args, **kwargs)
    forward_context, recompute_context = context_fn()
    frame = _Frame(function, args, kwargs, preserve, recompute_context)
    frame.is_checked, frame.stops_early = determinism_check == "default", early_stop and _stops_early
    with frame.hooks(), forward_context:
        return function(*args, **kwargs)


_BE_EXPLICIT = (
    "{0}: the use_reentrant parameter should be passed explicitly. use_reentrant=False is recommended; "
    "use_reentrant=True is what leaving it out means today."
)
_stops_early = True


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """``with`` 之内开始的 ``checkpoint``，重算时是否提前停下。"""
    global _stops_early
    before, _stops_early = _stops_early, enable
    try:
        yield
    finally:
        _stops_early = before


class _Surroundings:
    """前向时的随机数状态（``preserve`` 时）与 autocast。"""

    def __init__(self, preserve: bool) -> None:
        self.rng = get_rng_state() if preserve else None
        self.autocast = switch.autocast

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """``with`` 之内记图，随机数与 autocast 和前向时一样；出来时恢复。"""
        outer, scope = switch.autocast, self.autocast
        extras.users += 1
        try:
            with fork_rng(enabled=self.rng is not None), enable_grad():
                if self.rng is not None:
                    set_rng_state(self.rng)
                switch.autocast = scope and Autocast(scope.dtype, None if scope.cached is None else {})
                yield
        finally:
            switch.autocast = outer
            extras.users -= 1


class _Enough(Exception):  # noqa: N818  不是错误，只为从用户的函数里出来
    """需要的都算出来了。"""


class _Frame:
    """一次不可重入的 ``checkpoint``：重算要用的一切。

    Attributes:
        kinds: 前向时各号码的（形状，dtype）。
        values: 重算所得，还没有取走的；取走一个就去掉一个。
        time: 重算时的就地写入总次数：此后谁被改写过，剩下的就不作数。
    """

    def __init__(
        self, function: Any, args: Any, kwargs: Any, preserve: bool, context: AbstractContextManager[Any]
    ) -> None:
        self.function, self.context = function, context
        self.args, self.kwargs = [_kept(a) for a in args], {name: _kept(a) for name, a in kwargs.items()}
        self.surroundings = _Surroundings(preserve)
        self.is_checked, self.stops_early = True, True
        self.kinds: list[tuple[Any, Any]] = []
        self.values: dict[int, Any] = {}
        self.time = -1

    def hooks(self) -> saved_tensors_hooks:
        """前向时用：每个要留的数组换成下一个号码。"""

        def pack(tensor: Any) -> int:
            self.kinds.append((tensor.array.shape, tensor.array.dtype))
            return len(self.kinds) - 1

        return saved_tensors_hooks(pack, self._take)

    def _take(self, number: int) -> Any:
        """反传时用：号码换回数组。"""
        if number not in self.values or self.time != clock.time:
            self._recompute()
        return Tensor.wrap(self.values.pop(number))

    def _recompute(self) -> None:
        values: dict[int, Any] = {}

        def pack(tensor: Any) -> Any:
            values[len(values)] = tensor.array
            if self.stops_early and len(values) == len(self.kinds):
                raise _Enough
            return tensor

        args, kwargs = [again() for again in self.args], {name: again() for name, again in self.kwargs.items()}
        hooks = saved_tensors_hooks(pack, lambda tensor: tensor)
        with contextlib.suppress(_Enough), self.surroundings.again(), hooks, self.context:
            self.function(*args, **kwargs)
        self._check(values)
        self.values, self.time = values, clock.time

    def _check(self, values: dict[int, Any]) -> None:
        if len(values) != len(self.kinds):
            raise CheckpointError(
                "checkpoint: A different number of tensors was saved during the original forward and recomputation.\n"
                f"Number of tensors saved during forward: {len(self.kinds)}\n"
                f"Number of tensors saved during recomputation: {len(values)}."
            )
        for number, (shape, dtype) in enumerate(self.kinds if self.is_checked else ()):
            have = values[number]
            if have.shape != shape or have.dtype != dtype:
                raise CheckpointError(
                    "checkpoint: Recomputed values for the following tensors have different metadata than during the "
                    f"forward pass: tensor {number} had shape {shape} and dtype {dtype}, now {have.shape} and "
                    f"{have.dtype}."
                )


def _kept(value: Any) -> Callable[[], Any]:
    """留到重算时的参数：Tensor 只留数组（外面还套着一层 ``checkpoint`` 时，也由它换成号码）与要不要梯度。"""
    if not isinstance(value, Tensor):
        return lambda: value
    stored, needs_grad, time = packed(value.array), value.requires_grad, clock.time

    def again() -> Any:
        array = restored(stored)
        if array is stored and written_since(array, time):
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"an input of checkpoint(), of shape {array.shape}, was written to before its recomputation."
            )
        tensor = Tensor.wrap(array)
        return tensor.requires_grad_() if needs_grad else tensor

    return again


def check_backward_validity(inputs: Iterable[Any], stacklevel: int = 2) -> None:
    """输入都不要梯度时警告：结果不会有梯度。"""
    if not any(isinstance(a, Tensor) and a.requires_grad for a in inputs):
        message = "None of the inputs have requires_grad=True. Gradients will be None"
        warnings.warn(message, UserWarning, stacklevel=stacklevel)


def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """离开图的叶子，要不要梯度照旧；不是张量的原样留下。

    Raises:
        RuntimeError: 不是元组。
    """
    if not isinstance(inputs, tuple):
        raise RuntimeError(f"Only tuple of tensors is supported. Got Unsupported input type: {type(inputs).__name__}")
    return tuple(a.detach().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a for a in inputs)


def get_device_states(*args: Any) -> tuple[list[int], list[Tensor]]:
    """输入所在的各块 GPU 与它们的随机状态：这里没有 GPU，两列都空。"""
    return [], []


def set_device_states(devices: Iterable[int], states: Iterable[Tensor], *, device_type: str | None = None) -> None:
    """恢复 :func:`get_device_states` 给出的状态。

    Raises:
        DeviceError: 给了一块 GPU。
    """
    for device, _ in zip(devices, states, strict=False):
        raise DeviceError(
            f"set_device_states: there is no GPU, but a state of {device_type or 'cuda'}:{device} was given"
        )


class CheckpointFunction(Function):
    """可重入的一种：前向不记图，反传时重算，并在里面再反传一趟。"""

    refuses_partial = (
        "When use_reentrant=True, checkpoint is incompatible with autograd.grad() or passing an `inputs` parameter to "
        "backward(). To resolve this error, you can either set use_reentrant=False, or call backward() without passing "
        "the `inputs` argument."
    )

    @staticmethod
    def forward(ctx: Any, function: Any, preserve: bool, *args: Any) -> Any:
        """``Function`` 之内不记图：只留下函数与它的输入。"""
        check_backward_validity(args, stacklevel=5)
        ctx.function, ctx.surroundings = function, _Surroundings(preserve)
        ctx.rest = [None if isinstance(a, Tensor) else a for a in args]
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        ctx.save_for_backward(*[args[i] for i in ctx.places])
        return function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """重算，再反传一趟。"""
        given = list(ctx.rest)
        for i, tensor in zip(ctx.places, ctx.saved_tensors, strict=True):
            given[i] = tensor
        inputs = detach_variable(tuple(given))
        with ctx.surroundings.again():
            outputs = ctx.function(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [(y, g) for y, g in zip(outputs, grads, strict=True) if isinstance(y, Tensor) and y.requires_grad]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        backward([y for y, _ in pairs], [g for _, g in pairs])
        return (None, None, *[v.grad if isinstance(v, Tensor) else None for v in inputs])


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """把一串函数分成几段，除最后一段外各用一次 ``checkpoint``。

    Args:
        functions: ``nn.Sequential``，或依次调用的函数。
        segments: 分成几段。
        input: 第一个函数的输入。
        use_reentrant: 同 ``checkpoint``。
        **kwargs: 只认 ``preserve_rng_state``。

    Returns:
        最后一个函数的结果。

    Raises:
        ValueError: 别的关键字参数。
    """
    if use_reentrant is None:
        warnings.warn(_BE_EXPLICIT.format("checkpoint_sequential"), UserWarning, stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    steps = list(functions)
    size = len(steps) // segments
    last = 0
    for start in range(0, size * (segments - 1), size):
        last = start + size
        run = _chained(steps[start:last])
        input = checkpoint(run, input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return _chained(steps[last:])(input)


def _chained(steps: list[Any]) -> Callable[[Any], Any]:
    def run(value: Any) -> Any:
        for step in steps:
            value = step(value)
        return value

    return run
