"""设备：本引擎只有 CPU，别的设备名当场报错。"""

from __future__ import annotations

from typing import Any


class device:  # noqa: N801  与 torch 同名
    """设备；本引擎只有 CPU。

    Args:
        name: ``"cpu"``。

    Attributes:
        type: 总是 ``"cpu"``。
        index: 总是 ``None``。
    """

    def __init__(self, name: Any) -> None:
        if str(name).split(":")[0] != "cpu":
            raise RuntimeError(f"tinygrad_llm runs on the CPU only; device {str(name)!r} needs torch_llm")
        self.type, self.index = "cpu", None

    def __repr__(self) -> str:
        return "device(type='cpu')"

    def __str__(self) -> str:
        return "cpu"

    def __eq__(self, other: object) -> bool:
        return str(other) == "cpu"

    def __hash__(self) -> int:
        return hash("cpu")


CPU = device("cpu")


def require_cpu(name: Any) -> None:
    """设备必须是 CPU（或没写）。"""
    if name is not None:
        device(name)
