"""``weight_norm`` 的旧写法：权重的长度与方向是 Module 自己的 ``weight_g`` 与 ``weight_v``。

流入：Module；流出：每次前向之前重算权重的同一个 Module。新写法在 ``parametrizations.py``。
"""

from __future__ import annotations

import warnings
from typing import Any

from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.parameter import Parameter
from tinygrad_llm.nn.utils.parametrizations import norm_except_dim


class WeightNorm:
    """前向之前的钩子：由长度与方向重算权重。

    Attributes:
        name: 权重的名字。
        dim: 长度沿哪一轴各有一个。
    """

    def __init__(self, name: str, dim: int) -> None:
        self.name, self.dim = name, dim

    def compute_weight(self, module: Module) -> Any:
        """``g · v/‖v‖``。"""
        v = getattr(module, f"{self.name}_v")
        return v * (getattr(module, f"{self.name}_g") / norm_except_dim(v, self.dim))

    def __call__(self, module: Module, inputs: Any) -> None:
        """重算权重，放在 Module 的普通属性里。"""
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """把权重拆成 ``weight_g``（长度）与 ``weight_v``（方向）。

    Args:
        module: Module。
        name: 权重的名字。
        dim: 长度沿哪一轴各有一个；``None`` 表示只有一个。

    Returns:
        ``module``。

    Raises:
        RuntimeError: 这个权重已经归一化过。
    """
    message = "`torch.nn.utils.weight_norm` is deprecated in favor of `torch.nn.utils.parametrizations.weight_norm`."
    warnings.warn(message, FutureWarning, stacklevel=2)
    if _find(module, name) is not None:
        raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    hook = WeightNorm(name, -1 if dim is None else dim)
    weight = getattr(module, name).detach()
    del module._parameters[name]
    module.register_parameter(f"{name}_g", Parameter(norm_except_dim(weight, hook.dim)))
    module.register_parameter(f"{name}_v", Parameter(weight))
    setattr(module, name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """把 ``weight_g`` 与 ``weight_v`` 合回一个参数。

    Raises:
        ValueError: 这个权重没有归一化过。
    """
    key = _find(module, name)
    if key is None:
        raise ValueError(f"weight_norm of '{name}' not found in {module}")
    hook: Any = module._forward_pre_hooks.pop(key)
    weight = hook.compute_weight(module).detach()
    for suffix in ("_g", "_v"):
        del module._parameters[name + suffix]
    delattr(module, name)
    setattr(module, name, Parameter(weight))
    return module


def _find(module: Module, name: str) -> int | None:
    hooks = module._forward_pre_hooks.items()
    return next((key for key, hook in hooks if isinstance(hook, WeightNorm) and hook.name == name), None)
