"""``spectral_norm`` 的旧写法：原来的权重叫 ``weight_orig``，幂迭代的向量是 ``weight_u`` 与 ``weight_v``。

流入：Module；流出：每次前向之前重算权重的同一个 Module。新写法在 ``parametrizations.py``。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.autograd import no_grad
from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.convolution_layers import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.parameter import Parameter
from tinygrad_llm.tensor import Tensor


class SpectralNorm:
    """前向之前的钩子：权重除以最大奇异值。

    Attributes:
        name: 权重的名字。
        dim: 哪一轴是输出。
        n_power_iterations: 训练时每次前向幂迭代几步。
        eps: 归一化的下限。

    Raises:
        ValueError: 步数不是正数。
    """

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float) -> None:
        if n_power_iterations <= 0:
            raise ValueError(f"Expected n_power_iterations to be positive, but got {n_power_iterations}")
        self.name, self.dim, self.n_power_iterations, self.eps = name, dim, n_power_iterations, eps

    def matrix(self, weight: Tensor) -> Any:
        """权重摊成矩阵，输出的轴在前。"""
        rest = [axis for axis in range(weight.ndim) if axis != self.dim]
        return weight.permute(self.dim, *rest).flatten(1)

    def unit(self, vector: Tensor) -> Tensor:
        """单位向量。"""
        return F.normalize(vector, dim=0, eps=self.eps)

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Any:
        """``w/σ(w)``；训练时先幂迭代几步。"""
        weight, u, v = (getattr(module, self.name + suffix) for suffix in ("_orig", "_u", "_v"))
        matrix = self.matrix(weight)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(self.unit(u @ matrix))
                    u.copy_(self.unit(matrix @ v))
        return weight / (u.clone() @ (matrix @ v.clone()))

    def __call__(self, module: Module, inputs: Any) -> None:
        """重算权重，放在 Module 的普通属性里。"""
        setattr(module, self.name, self.compute_weight(module, do_power_iteration=module.training))


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """让权重除以它的最大奇异值。

    Args:
        module: Module。
        name: 权重的名字。
        n_power_iterations: 训练时每次前向幂迭代几步。
        eps: 归一化的下限。
        dim: 哪一轴是输出；转置卷积缺省 1，别的缺省 0。

    Returns:
        ``module``。

    Raises:
        RuntimeError: 这个权重已经归一化过。
        ValueError: 步数不是正数。
    """
    if _find(module, name) is not None:
        raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    transposed = isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d))
    hook = SpectralNorm(name, n_power_iterations, int(transposed) if dim is None else dim, eps)
    weight: Any = module._parameters[name]
    rows, columns = hook.matrix(weight.detach()).shape
    u, v = (hook.unit(weight.detach().new_zeros(size).normal_()) for size in (rows, columns))
    del module._parameters[name]
    module.register_parameter(f"{name}_orig", weight)
    setattr(module, name, weight.detach())
    module.register_buffer(f"{name}_u", u)
    module.register_buffer(f"{name}_v", v)
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """留下现在的权重，去掉归一化。

    Raises:
        ValueError: 这个权重没有归一化过。
    """
    key = _find(module, name)
    if key is None:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    hook: Any = module._forward_pre_hooks.pop(key)
    with no_grad():
        weight = hook.compute_weight(module, do_power_iteration=False)
    for attribute in (name, f"{name}_u", f"{name}_v", f"{name}_orig"):
        delattr(module, attribute)
    module.register_parameter(name, Parameter(weight.detach()))
    return module


def _find(module: Module, name: str) -> int | None:
    hooks = module._forward_pre_hooks.items()
    return next((key for key, hook in hooks if isinstance(hook, SpectralNorm) and hook.name == name), None)
