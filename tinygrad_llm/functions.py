"""与方法同名的函数：``exp(x)`` 就是 ``x.exp()``，一张名单生成全部。

流入：方法名；流出：函数。不在名单上的（工厂、拼接）在 ``creation.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm.tensor import Tensor

METHODS = """
abs add all amax amin any argmax argmin argsort chunk clamp clone cos cumsum div erf exp flatten flip gather
index_select isfinite isnan log log1p log_softmax logical_not logsumexp masked_fill masked_select matmul max mean
maximum min minimum mul neg nonzero norm numel permute pow reciprocal relu repeat_interleave reshape rsqrt sigmoid
sign sin softmax sort split sqrt square squeeze std sub sum t tanh topk transpose tril triu unbind unsqueeze var
"""


def _as_function(name: str) -> Callable[..., Any]:
    method = getattr(Tensor, name)

    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(input, name)(*args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = method.__doc__
    return function


FUNCTIONS: dict[str, Callable[..., Any]] = {name: _as_function(name) for name in METHODS.split()}
