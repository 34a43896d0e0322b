"""自动微分的门面：名字与 ``torch.autograd`` 相同。阅读次序：``mode`` → ``graph`` → ``engine`` → ``function``。"""

import importlib
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.autograd import mode as grad_mode
from tinygrad_llm.autograd.anomaly import detect_anomaly, set_detect_anomaly
from tinygrad_llm.autograd.engine import backward, grad
from tinygrad_llm.autograd.function import Function
from tinygrad_llm.autograd.inference import inference_mode, is_inference_mode_enabled
from tinygrad_llm.autograd.mode import (
    composed_ops,
    enable_grad,
    first_order,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from tinygrad_llm.autograd.variable import Variable

_offered = attributes(__name__, ("functional",))


def __getattr__(name: str) -> Any:
    if name in ("gradcheck", "gradgradcheck"):  # 它们用到 Tensor，在本层之上：用到才取
        return getattr(importlib.import_module("tinygrad_llm.gradcheck"), name)
    return _offered(name)


__all__ = [
    "Function",
    "Variable",
    "backward",
    "composed_ops",
    "detect_anomaly",
    "enable_grad",
    "first_order",
    "grad",
    "grad_mode",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]  # fmt: skip
