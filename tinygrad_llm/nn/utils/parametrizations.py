"""现成的参数化：权重归一化、谱归一化；正交的在 ``orthogonal.py``。

流入：Module；流出：权重由别的张量算出来的同一个 Module。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.autograd import no_grad
from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.convolution_layers import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.utils.orthogonal import orthogonal
from tinygrad_llm.nn.utils.parametrize import register_parametrization
from tinygrad_llm.tensor import Tensor

__all__ = ["norm_except_dim", "orthogonal", "spectral_norm", "weight_norm"]


def norm_except_dim(v: Tensor, dim: int) -> Any:
    """除 ``dim`` 之外各轴上的 2-范数，轴留作 1；``dim`` 为 -1 时对全体。"""
    axes = [axis for axis in range(v.ndim) if axis != dim]
    squares = (v * v).sum() if dim == -1 else (v * v).sum(dim=axes, keepdim=True) if axes else v * v
    return squares.sqrt()


class _WeightNorm(Module):
    """``w = g · v/‖v‖``。"""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Any:
        return weight_v * (weight_g / norm_except_dim(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """权重归一化：把权重拆成长度 g 与方向 v（Salimans 与 Kingma，2016）。

    Args:
        module: Module。
        name: 权重的名字。
        dim: 长度沿哪一轴各有一个；``None`` 表示只有一个。

    Returns:
        ``module``；旧写法存下的 ``weight_g``、``weight_v`` 也装得进来。
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(state: dict[str, Any], prefix: str, *_: Any) -> None:
        old = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state for key in old):
            for i, key in enumerate(old):
                state[f"{prefix}parametrizations.{name}.original{i}"] = state.pop(key)

    module._register_load_state_dict_pre_hook(rename)
    return module


class _SpectralNorm(Module):
    """``w/σ(w)``，最大奇异值 σ 由幂迭代估计，每次前向走几步。"""

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{weight.ndim}, {weight.ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(f"Expected n_power_iterations to be positive, but got {n_power_iterations}")
        self.dim, self.eps = dim % weight.ndim, eps
        if weight.ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._matrix(weight.detach())
            rows, columns = matrix.shape
            for name, size in (("_u", rows), ("_v", columns)):
                self.register_buffer(name, F.normalize(matrix.new_zeros(size).normal_(), dim=0, eps=eps))
            self._power_method(matrix, 15)

    def _matrix(self, weight: Tensor) -> Any:
        rest = [axis for axis in range(weight.ndim) if axis != self.dim]
        return weight.permute(self.dim, *rest).flatten(1)

    @no_grad
    def _power_method(self, matrix: Tensor, steps: int) -> None:
        for _ in range(steps):
            self._u.copy_(F.normalize(matrix @ self._v, dim=0, eps=self.eps))
            self._v.copy_(F.normalize(self._u @ matrix, dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Any:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        return weight / (self._u.clone() @ (matrix @ self._v.clone()))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """谱归一化：权重除以最大奇异值（Miyato 等，2018）。

    Args:
        module: Module。
        name: 权重的名字。
        n_power_iterations: 训练时每次前向幂迭代几步。
        eps: 归一化的下限。
        dim: 哪一轴是输出；转置卷积缺省 1，别的缺省 0。

    Returns:
        ``module``。

    Raises:
        ValueError: 没有这个名字，或步数不是正数。
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    transposed = isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d))
    axis = int(transposed) if dim is None else dim
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, axis, eps))
