"""让 ``transformers`` 从头到尾用 float64。

流入：它的代码，一字不改；流出：``with`` 之内，它写死的 float32 都算作 float64。
它的 RMSNorm、旋转角与 softmax 无论权重是什么类型都先转成 float32，误差约 1e-7，盖住了要找的错。
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Float64(TorchFunctionMode):
    """``with`` 之内，要 float32 的地方都给 float64。"""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """torch 的每一次调用。"""
        if func is torch.Tensor.float:
            return args[0].double()
        widened = {name: _wide(value) for name, value in (kwargs or {}).items()}
        return func(*map(_wide, args), **widened)


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
