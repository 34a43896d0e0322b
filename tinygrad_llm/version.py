"""版本号，以及与 ``torch.version`` 同名的几项：没有任何 GPU 的工具链。"""

from __future__ import annotations

__version__ = "0.1.0"
cuda: str | None = None
hip: str | None = None
xpu: str | None = None
debug = False
