"""推理时把批归一化并进前面的卷积或全连接层；另有不初始化就造一层的 ``skip_init``。

流入：评估状态的层；流出：权重换过的一层，结果不变。
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.creation import ones_like, zeros_like
from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.parameter import Parameter
from tinygrad_llm.tensor import Tensor


def _fused(
    weight: Tensor, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float, scale: Any, shift: Any, dim: int
) -> tuple[Parameter, Parameter]:
    """``dim`` 是权重的输出轴。"""
    offset = zeros_like(mean) if bias is None else bias
    factor = (ones_like(mean) if scale is None else scale) * (var + eps).rsqrt()
    shape = [-1 if d == dim else 1 for d in range(weight.ndim)]
    moved = (offset - mean) * factor + (zeros_like(mean) if shift is None else shift)
    new_weight = (weight * factor.reshape(shape)).to(weight.dtype)
    needs_grad = weight.requires_grad, offset.requires_grad
    return Parameter(new_weight, needs_grad[0]), Parameter(moved.to(weight.dtype), needs_grad[1])


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """合并之后的卷积核与偏置；``transpose`` 表示转置卷积。"""
    return _fused(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 1 if transpose else 0)


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor,
    bn_b: Tensor,
) -> tuple[Parameter, Parameter]:
    """合并之后的权重与偏置。"""
    return _fused(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 0)


def _copied(layer: Any, bn: Any) -> Any:
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")
    return copy.deepcopy(layer)


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """合并卷积与后面的批归一化。

    Raises:
        AssertionError: 有一个还在训练，或批归一化没有滑动平均。
    """
    layer = _copied(conv, bn)
    statistics = bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    layer.weight, layer.bias = fuse_conv_bn_weights(layer.weight, layer.bias, *statistics, transpose)
    return layer


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """合并全连接层与后面的批归一化。

    Raises:
        AssertionError: 有一个还在训练，没有滑动平均，或宽度对不上。
    """
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError(
            f"To fuse, out_features {linear.out_features} must be num_features {bn.num_features}, or 1"
        )
    layer = _copied(linear, bn)
    statistics = bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    layer.weight, layer.bias = fuse_linear_bn_weights(layer.weight, layer.bias, *statistics)
    return layer


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """造一层，但不初始化参数。

    Raises:
        RuntimeError: 不是 Module，或它的构造函数没有 ``device``。
    """
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    final = kwargs.pop("device", "cpu")
    return module_cls(*args, **kwargs, device="meta").to_empty(device=final)  # type: ignore[no-any-return]


__getattr__ = attributes(__name__)
