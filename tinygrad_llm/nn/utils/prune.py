"""剪枝：把一部分权重遮成 0，名字同 ``torch.nn.utils.prune``。

流入：层、参数的名字与剪去多少；流出：参数换成 ``名字_orig`` 与掩码 ``名字_mask``，每次前向之前相乘；``remove`` 把掩码
乘进参数。
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.creation import ones_like, zeros_like
from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.utils.convert_parameters import parameters_to_vector
from tinygrad_llm.sampling import rand, rand_like
from tinygrad_llm.tensor import Tensor


class BasePruningMethod:
    """一种剪枝的办法；子类写 ``compute_mask`` 与 ``PRUNING_TYPE``，也是层的前向钩子。

    Attributes:
        PRUNING_TYPE: ``"unstructured"`` 只看还留着的元素，``"structured"`` 只看还留着的通道，``"global"`` 看全部。
    """

    PRUNING_TYPE = "unstructured"
    _tensor_name: str | None = None

    def __call__(self, module: Module, inputs: Any) -> None:
        """前向之前，重新算出剪过的参数。"""
        setattr(module, str(self._tensor_name), self.apply_mask(module))

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """``t`` 的掩码，1 为留下；在 ``default_mask`` 的基础上再剪。"""
        raise NotImplementedError(f"{type(self).__name__} does not define compute_mask")

    def apply_mask(self, module: Module) -> Tensor:
        """原来的参数乘以掩码。

        Raises:
            AssertionError: 还没有剪过。
        """
        if self._tensor_name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        original: Tensor = getattr(module, f"{self._tensor_name}_orig")
        return getattr(module, f"{self._tensor_name}_mask").to(dtype=original.dtype) * original  # type: ignore[no-any-return]

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any
    ) -> BasePruningMethod:
        """剪去 ``module`` 的参数 ``name`` 的一部分；剪过的再剪，两次合起来算。

        Args:
            module: 层。
            name: 参数的名字。
            *args: 造这种办法的参数。
            importance_scores: 按它而不是参数本身的大小来剪，形状相同。
            **kwargs: 造这种办法的参数。

        Raises:
            AssertionError: ``importance_scores`` 的形状不同。
        """
        fresh = cls(*args, **kwargs)
        fresh._tensor_name = name
        before = _hook_of(module, name)
        method = fresh if before is None else _together(module, before, fresh)
        original: Tensor = getattr(module, name)
        scores = original if importance_scores is None else importance_scores
        if scores.shape != original.shape:
            raise AssertionError(f"importance_scores {scores.shape} should have the shape of {name}, {original.shape}")
        if before is None:
            mask = method.compute_mask(scores.detach(), ones_like(original))
            del module._parameters[name]
            module.register_parameter(f"{name}_orig", original)  # type: ignore[arg-type]
        else:
            mask = method.compute_mask(scores.detach(), getattr(module, f"{name}_mask").clone())
        module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Tensor:
        """剪过的 ``t``，不动任何层。

        Raises:
            AssertionError: ``importance_scores`` 的形状不同。
        """
        scores = t if importance_scores is None else importance_scores
        if scores.shape != t.shape:
            raise AssertionError(f"importance_scores {scores.shape} should have the shape of t, {t.shape}")
        return t * self.compute_mask(scores, ones_like(t) if default_mask is None else default_mask)  # type: ignore[no-any-return]

    def remove(self, module: Module) -> None:
        """掩码乘进参数，恢复成普通的参数。"""
        name = str(self._tensor_name)
        weight = self.apply_mask(module)
        delattr(module, name)
        original: Any = module._parameters.pop(f"{name}_orig")
        original.data = weight.detach()
        del module._buffers[f"{name}_mask"]
        setattr(module, name, original)


def _hook_of(module: Module, name: str) -> BasePruningMethod | None:
    hooks = [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, BasePruningMethod)]
    return next((hook for hook in hooks if hook._tensor_name == name), None)


def _drop_hook(module: Module, method: BasePruningMethod) -> None:
    for key, hook in list(module._forward_pre_hooks.items()):
        if hook is method:
            del module._forward_pre_hooks[key]


def _together(module: Module, before: BasePruningMethod, fresh: BasePruningMethod) -> PruningContainer:
    """换下旧的钩子，新旧两种办法合成一个。"""
    _drop_hook(module, before)
    container = before if isinstance(before, PruningContainer) else PruningContainer(before)
    container.add_pruning_method(fresh)
    return container


class PruningContainer(BasePruningMethod):
    """接连用过的几种办法；算掩码时只用最后一种，在前面剩下的里面剪。"""

    def __init__(self, *methods: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        if methods:
            self._tensor_name = methods[0]._tensor_name
        for method in methods:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """再加一种。

        Raises:
            TypeError: 不是剪枝的办法。
            ValueError: 剪的不是同一个参数。
        """
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if self._tensor_name != method._tensor_name:
            raise ValueError(f"this PruningContainer prunes {self._tensor_name!r}, found {method._tensor_name!r}")
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: int) -> BasePruningMethod:
        return self._pruning_methods[idx]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """最后一种办法，在 ``default_mask`` 留下的部分里剪。"""
        method, mask = self._pruning_methods[-1], default_mask.to(dtype=t.dtype, copy=True)
        kept: Any = ...
        if method.PRUNING_TYPE == "unstructured":
            kept = default_mask == 1
        elif method.PRUNING_TYPE == "structured":
            dim = getattr(method, "dim") % t.ndim  # noqa: B009  只有按通道剪的办法才有
            alive = default_mask.sum(dim=[d for d in range(t.ndim) if d != dim]) != 0
            kept = (slice(None),) * dim + (alive,)
        mask[kept] = method.compute_mask(t[kept], default_mask[kept]).to(dtype=mask.dtype)
        return mask  # type: ignore[no-any-return]


class Identity(BasePruningMethod):
    """什么也不剪，只换成带掩码的样子。"""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """原来的掩码。"""
        return default_mask


class _ByAmount(BasePruningMethod):
    """剪去 ``amount`` 个（整数）或这么大一部分（0 到 1 的小数）。"""

    def __init__(self, amount: float) -> None:
        if isinstance(amount, bool) or not isinstance(amount, (int, float)):
            raise TypeError(f"Invalid type for amount: {amount!r}. Must be int or float.")
        if amount < 0 or (isinstance(amount, float) and amount > 1):
            raise ValueError(f"amount={amount} should be a non-negative integer or a float in [0, 1]")
        self.amount = amount

    def _count(self, size: int) -> int:
        if isinstance(self.amount, int) and self.amount > size:
            raise ValueError(f"amount={self.amount} should be at most the number of parameters to prune={size}")
        return self.amount if isinstance(self.amount, int) else round(self.amount * size)

    def _channels(self, t: Tensor, dim: int) -> int:
        if t.ndim <= 1:
            raise ValueError(f"Structured pruning needs at least 2 dimensions, got a tensor of shape {tuple(t.shape)}")
        if not -t.ndim <= dim < t.ndim:
            raise IndexError(f"Invalid index {dim} for tensor of size {tuple(t.shape)}")
        return int(t.shape[dim])


def _without(mask: Tensor, indices: Tensor) -> Tensor:
    found = mask.clone().contiguous()
    found.view(-1)[indices] = 0
    return found  # type: ignore[no-any-return]


def _only(default_mask: Tensor, t: Tensor, dim: int, channels: Tensor) -> Tensor:
    """只留下 ``dim`` 轴上的这些通道。"""
    mask = zeros_like(t)
    mask[(slice(None),) * (dim % t.ndim) + (channels,)] = 1
    return mask * default_mask.to(dtype=mask.dtype)  # type: ignore[no-any-return]


class RandomUnstructured(_ByAmount):
    """随便剪去一些元素。"""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """掩码。"""
        count = self._count(t.numel())
        return _without(default_mask, rand_like(t).view(-1).topk(count).indices) if count else default_mask.clone()


class L1Unstructured(_ByAmount):
    """剪去绝对值最小的元素。"""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """掩码。"""
        count = self._count(t.numel())
        smallest = t.abs().reshape(-1).topk(count, largest=False)
        return _without(default_mask, smallest.indices) if count else default_mask.clone()


class RandomStructured(_ByAmount):
    """随便剪去 ``dim`` 轴上的一些通道。"""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1) -> None:
        super().__init__(amount)
        self.dim = dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """掩码。"""
        channels = self._channels(t, self.dim)
        count = self._count(channels)
        if not count:
            return default_mask
        luck = rand(channels)
        return _only(default_mask, t, self.dim, luck > luck.kthvalue(count).values)


class LnStructured(_ByAmount):
    """剪去 ``dim`` 轴上 ``n``-范数最小的通道。"""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        super().__init__(amount)
        self.n, self.dim = n, dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """掩码。"""
        channels = self._channels(t, self.dim)
        count = self._count(channels)
        others = [d for d in range(t.ndim) if d != self.dim % t.ndim]
        largest = t.norm(p=self.n, dim=others).topk(channels - count).indices
        return _only(default_mask, t, self.dim, largest) if count else default_mask


class CustomFromMask(BasePruningMethod):
    """按给定的掩码剪。"""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """两张掩码之积。

        Raises:
            AssertionError: 形状不同。
        """
        if default_mask.shape != self.mask.shape:
            raise AssertionError(f"mask {self.mask.shape} must have the shape of the parameter, {default_mask.shape}")
        return default_mask * self.mask.to(dtype=default_mask.dtype)  # type: ignore[no-any-return]


# ---- 函数的写法


def identity(module: Module, name: str) -> Module:
    """什么也不剪，只换成带掩码的样子。"""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """随便剪去一些元素。"""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: float, importance_scores: Tensor | None = None) -> Module:
    """剪去绝对值最小的元素。"""
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """随便剪去一些通道。"""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: float, n: Any, dim: int, importance_scores: Tensor | None = None
) -> Module:
    """剪去范数最小的通道。"""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """按给定的掩码剪。"""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: Mapping[tuple[Module, str], Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """几个层的参数排成一行，一起剪。

    Args:
        parameters: （层，参数名）的一串。
        pruning_method: 不按通道的一种办法。
        importance_scores: 有些参数按它而不是自己的大小来剪。
        **kwargs: 造这种办法的参数。

    Raises:
        TypeError: ``parameters`` 不是一串，或这种办法按通道剪。
    """
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(f"global_unstructured needs an unstructured method, got {method.PRUNING_TYPE!r}")
    pairs, given = list(parameters), importance_scores or {}
    tensors = [getattr(module, name) for module, name in pairs]
    scores = [given.get(pair, tensor).detach() for pair, tensor in zip(pairs, tensors, strict=True)]
    masks = [getattr(pair[0], f"{pair[1]}_mask", ones_like(t)) for pair, t in zip(pairs, tensors, strict=True)]
    method._tensor_name = "all"
    whole = PruningContainer(method).compute_mask(parameters_to_vector(scores), parameters_to_vector(masks))
    for (module, name), part in zip(pairs, whole.split([t.numel() for t in tensors]), strict=True):
        custom_from_mask(module, name, part.view_as(getattr(module, name)))


def remove(module: Module, name: str) -> Module:
    """掩码乘进参数，恢复成普通的参数。

    Raises:
        ValueError: 这个参数没有剪过。
    """
    method = _hook_of(module, name)
    if method is None:
        raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")
    _drop_hook(module, method)
    method.remove(module)
    return module


def is_pruned(module: Module) -> bool:
    """``module`` 或它里面的层有没有剪过。"""
    hooks = [hook for inner in module.modules() for hook in inner._forward_pre_hooks.values()]
    return any(isinstance(hook, BasePruningMethod) for hook in hooks)


__getattr__ = attributes(__name__)
