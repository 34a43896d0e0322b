"""与 ``torch.nn.modules.module`` 同一路径：Module、它的全局钩子与登记钩子。

流入：钩子；流出：摘掉它的句柄。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.module_hooks import (
    register_module_backward_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)
from tinygrad_llm.nn.module_registry import BUFFER_HOOKS, MODULE_HOOKS, PARAMETER_HOOKS
from tinygrad_llm.utils.hooks import RemovableHandle, register

__getattr__ = attributes(__name__)

__all__ = [
    "Module",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]  # fmt: skip


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """任何 Module 登记参数之前调用 ``hook(module, name, param)``；返回值不为 ``None`` 则登记它。"""
    return register(PARAMETER_HOOKS, hook)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """任何 Module 登记缓冲区之前调用 ``hook(module, name, buffer)``。"""
    return register(BUFFER_HOOKS, hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """任何 Module 登记子模块之前调用 ``hook(module, name, submodule)``。"""
    return register(MODULE_HOOKS, hook)
