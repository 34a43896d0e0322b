"""导入 ``torch.testing._internal``：torch 给自己的测试准备的样例库。

流入：模块名；流出：模块。下一站：``harness.py``。
"""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

import pytest


def load(name: str) -> Any:
    """导入样例库的一个模块，当作没有装 hypothesis。

    那里一经导入就把整个进程的 hypothesis 换成 torch 的 profile：每条性质只走十个例子，次次不同。
    没有 hypothesis 它照样能用。

    Args:
        name: ``torch.testing._internal`` 里的模块名。

    Returns:
        模块。
    """
    with pytest.MonkeyPatch.context() as patched, warnings.catch_warnings():
        patched.setitem(sys.modules, "hypothesis", None)
        warnings.simplefilter("ignore")
        return importlib.import_module(f"torch.testing._internal.{name}")
