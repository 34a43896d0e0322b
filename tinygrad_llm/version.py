"""版本号，以及与 ``torch.version`` 同名的几项：没有任何 GPU 的工具链。

``__version__`` 的前半是所照的 torch 的版本，后半是本包的版本：许多程序靠它决定走哪条路。
"""

from __future__ import annotations

import re
from typing import Any

PACKAGE = "0.1.0"
"""本包的版本，与 ``pyproject.toml`` 一致。"""
__version__ = f"2.13.0+tinygrad.llm.{PACKAGE}"
cuda: str | None = None
hip: str | None = None
xpu: str | None = None
debug = False


class TorchVersion(str):
    """可以按版本的先后比较的字符串：``"2.13" > "2.9"``，也可以与 ``(2, 0)`` 这样的元组比。"""

    __slots__ = ()

    def _pair(self, other: Any) -> tuple[Any, Any]:
        """两边的版本号；同样长的一段相等时，字符串再比有没有本地的后缀。"""
        mine, theirs = _numbers(self), _numbers(other)
        length = max(len(mine), len(theirs))
        mine, theirs = (n + (0,) * (length - len(n)) for n in (mine, theirs))
        return (mine, "+" in self), (theirs, isinstance(other, str) and "+" in other)

    def __lt__(self, other: Any) -> bool:
        mine, theirs = self._pair(other)
        return bool(mine < theirs)

    def __le__(self, other: Any) -> bool:
        return not self > other

    def __gt__(self, other: Any) -> bool:
        mine, theirs = self._pair(other)
        return bool(mine > theirs)

    def __ge__(self, other: Any) -> bool:
        return not self < other


def _numbers(version: Any) -> tuple[int, ...]:
    parts = re.findall(r"\d+", version.partition("+")[0]) if isinstance(version, str) else version
    return tuple(int(part) for part in parts)
