"""与 ``torch.__config__`` 同名：这个引擎靠什么计算。"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from tinygrad_llm.version import PACKAGE


def show() -> str:
    """版本、Python、NumPy 与它的 BLAS，一行一项。"""
    built: Any = np.show_config(mode="dicts")
    blas = built["Build Dependencies"]["blas"]
    return "\n".join(
        [
            f"tinygrad_llm {PACKAGE}",
            f"  - Python {platform.python_version()} on {platform.machine()}",
            f"  - NumPy {np.__version__}",
            f"  - BLAS {blas['name']} {blas.get('version', '')}".rstrip(),
            "  - GPU: none",
            "",
        ]
    )
