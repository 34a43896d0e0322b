"""参数化：Module 的一个张量由别的张量算出来，例如正交的、归一化的权重。

流入：Module、张量的名字与算它的 Module；流出：同一个 Module，取那个名字时现算，``state_dict`` 里存的是原来的张量。
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tinygrad_llm.autograd import no_grad
from tinygrad_llm.nn.containers import ModuleDict, ModuleList
from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.parameter import Parameter
from tinygrad_llm.tensor import Tensor


class _Cache:
    """``cached()`` 之内算过的值。

    Attributes:
        depth: 嵌套了几层。
        values: （Module，名字）到值。
    """

    depth = 0
    values: dict[tuple[int, str], Any] = {}  # noqa: RUF012  全局只有一份


@contextmanager
def cached() -> Iterator[None]:
    """``with`` 之内每个参数化只算一次。"""
    _Cache.depth += 1
    try:
        yield
    finally:
        _Cache.depth -= 1
        if not _Cache.depth:
            _Cache.values.clear()


class ParametrizationList(ModuleList):
    """一个张量的参数化：原来的张量，与依次作用的 Module。

    Args:
        modules: 依次作用的 Module；有 ``right_inverse`` 的，用它由现在的值倒推原来的张量。
        original: 现在的值。
        unsafe: 允许改变形状与 dtype。

    Attributes:
        is_tensor: 原来的张量只有一个（``original``），还是几个（``original0`` 起）。
        ntensors: 几个。

    Raises:
        ValueError: 形状或 dtype 变了，或 ``right_inverse`` 给的不是张量。
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        new = self._inverted(original, strict=False)
        self.is_tensor, parts = isinstance(new, Tensor), _parts(new)
        self.ntensors = len(parts)
        if self.is_tensor:
            if new.dtype != dtype:
                raise ValueError(f"`right_inverse` may not change the dtype: {dtype} became {new.dtype}")
            original.data = new.detach()
            _register(self, "original", original)
        for i, part in enumerate(() if self.is_tensor else parts):
            held = Parameter(part, original.requires_grad) if isinstance(original, Parameter) else part.detach()
            _register(self, f"original{i}", held)
        if not unsafe:
            _require_like(self(), shape, dtype)

    def _inverted(self, value: Any, *, strict: bool) -> Any:
        """由现在的值倒推；``strict`` 时每个 Module 都要会倒推。"""
        with no_grad():
            for module in reversed(list(self)):
                if strict and not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value) if strict else _inverse_if_any(module, value)
        return value

    def originals(self) -> list[Tensor]:
        """原来的张量。"""
        names = ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]
        return [getattr(self, name) for name in names]

    def right_inverse(self, value: Tensor) -> None:
        """赋值：由 ``value`` 倒推，写进原来的张量。

        Raises:
            RuntimeError: 有的 Module 不会倒推。
            ValueError: 倒推出来的个数或 dtype 不对。
        """
        parts = _parts(self._inverted(value, strict=True))
        if len(parts) != self.ntensors:
            raise ValueError(f"'right_inverse' must return {self.ntensors} tensors, got {len(parts)}")
        for original, part in zip(self.originals(), parts, strict=True):
            if part.dtype != original.dtype:
                raise ValueError(f"`right_inverse` returned dtype {part.dtype} while the original has {original.dtype}")
            original.data = part.detach()

    def forward(self) -> Any:
        """现在的值。"""
        first, *rest = self
        value = first(*self.originals())
        for module in rest:
            value = module(value)
        return value


def _inverse_if_any(module: Any, value: Any) -> Any:
    """倒推一步；不会倒推的原样返回。"""
    try:
        return module.right_inverse(value) if hasattr(module, "right_inverse") else value
    except NotImplementedError:  # 例如没有起点的矩阵指数
        return value


def _parts(value: Any) -> list[Any]:
    parts = [value] if isinstance(value, Tensor) else list(value) if isinstance(value, (list, tuple)) else []
    if not parts or not all(isinstance(part, Tensor) for part in parts):
        raise ValueError(f"'right_inverse' must return a Tensor or a sequence of tensors, got {type(value).__name__}")
    return parts


def _register(module: Module, name: str, value: Tensor) -> None:
    if isinstance(value, Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


def _require_like(value: Any, shape: Any, dtype: Any) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(value).__name__}.")
    if value.dtype != dtype or value.shape != shape:
        raise ValueError(
            "Registering a parametrization may not change the dtype or the shape of the tensor, unless the `unsafe` "
            f"flag is enabled: {dtype} {tuple(shape)} became {value.dtype} {tuple(value.shape)}"
        )


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """让 ``module.tensor_name`` 由 ``parametrization`` 算出；已经有参数化的再加一个在后面。

    Args:
        module: Module。
        tensor_name: 参数或缓冲区的名字。
        parametrization: 算它的 Module。
        unsafe: 允许改变形状与 dtype。

    Returns:
        ``module``；它的类换成了 ``Parametrized…``。

    Raises:
        ValueError: 没有这个名字，或形状、dtype 变了。
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        before: Tensor = getattr(module, tensor_name)
        if not unsafe:
            after = parametrization(before)
            _require_like(after, before.shape, before.dtype)
            _require_like(_inverse_if_any(parametrization, after), before.shape, before.dtype)
        steps: Any = module.parametrizations[tensor_name]
        steps.append(parametrization)
        steps.unsafe |= unsafe
        return module
    if tensor_name not in module._buffers and tensor_name not in module._parameters:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer or a parametrized element named '{tensor_name}'"
        )
    steps = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        kind = type(module)
        module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), {})
        module.parametrizations = ModuleDict()
    setattr(type(module), tensor_name, _property(tensor_name))
    module.parametrizations[tensor_name] = steps
    return module


def _property(name: str) -> property:
    """取值时现算，赋值时倒推。"""

    def get(self: Any) -> Any:
        if not _Cache.depth:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _Cache.values:
            _Cache.values[key] = self.parametrizations[name]()
        return _Cache.values[key]

    def put(self: Any, value: Any) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """有没有参数化；给了名字就问那一个。"""
    steps = getattr(module, "parametrizations", None)
    if not isinstance(steps, ModuleDict):
        return False
    return len(steps) > 0 if tensor_name is None else tensor_name in steps


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """去掉参数化。

    Args:
        module: Module。
        tensor_name: 哪一个。
        leave_parametrized: 留下现在的值，还是原来的张量。

    Returns:
        ``module``。

    Raises:
        ValueError: 没有参数化，或原来的张量不止一个而要留下它。
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    steps: Any = module.parametrizations[tensor_name]
    if not steps.is_tensor and not leave_parametrized:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    value: Tensor = getattr(module, tensor_name)
    if steps.is_tensor:
        kept = steps.original
        kept.data = value.detach() if leave_parametrized else kept.detach()
    else:
        kept = Parameter(value) if value.requires_grad else value
    delattr(type(module), tensor_name)
    del module.parametrizations._modules[tensor_name]
    _register(module, tensor_name, kept)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """没有参数化时的类。"""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)
