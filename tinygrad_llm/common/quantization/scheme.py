"""一个权重矩阵用什么格式存：int8 每行一个比例尺，int4 每行每组一个。

流入：命令行上的设置，或运行文件夹里的元数据；流出：校验过的 ``Scheme``，与它的各个数组应有的形状和类型。
下一个文件：``rounding.py``。
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from tinygrad_llm.common.errors import UserError

__all__ = ["GROUPS", "Format", "Scheme", "qat_scheme"]

Format = Literal["int8", "int4"]
GROUPS = (32, 64, 128)


@dataclass(frozen=True)
class Scheme:
    """一个矩阵的存法。

    ``int8``：每个输出通道（一行）一个比例尺，``w ≈ scale·q``，q 在 -127 到 127 之间。
    ``int4``：一行里每 ``group`` 列一个比例尺，``w ≈ (q - 8)·scale + zero``，q 在 0 到 15 之间；对称的没有 ``zero``。

    Attributes:
        format: 格式。
        group: int4 几列一组，末尾一组可以不满；int8 时为 0。
        has_zero: int4 是否另存零点。
    """

    format: Format
    group: int = 0
    has_zero: bool = False

    def __post_init__(self) -> None:
        problems = []
        if self.format not in get_args(Format):
            problems.append(f"the format must be one of {', '.join(get_args(Format))}, got {self.format!r}")
        elif self.format == "int8" and (self.group != 0 or self.has_zero):
            problems.append("int8 has neither groups nor zero points")
        elif self.format == "int4" and self.group not in GROUPS:
            problems.append(f"the group must be one of {', '.join(map(str, GROUPS))}, got {self.group!r}")
        if self.has_zero not in (True, False):
            problems.append(f"has_zero must be true or false, got {self.has_zero!r}")
        if problems:
            raise UserError("; ".join(problems), where="quantisation format", fix="correct the values named above")

    def groups(self, columns: int) -> int:
        """一行分成几组。"""
        return 1 if self.format == "int8" else -(-columns // self.group)

    def parts(self, shape: tuple[int, ...]) -> dict[str, tuple[tuple[int, ...], tuple[str, ...]]]:
        """一个 ``(rows, columns)`` 的矩阵存成哪几个数组。

        Returns:
            后缀（``codes``、``scale``、``zero``）到（形状，允许的类型）。
        """
        rows, columns = shape
        floats = ("float16", "float32")
        if self.format == "int8":
            return {"codes": ((rows, columns), ("int8",)), "scale": ((rows,), floats)}
        count = self.groups(columns)
        found: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
            "codes": ((rows, (columns + 1) // 2), ("uint8",)),
            "scale": ((rows, count), floats),
        }
        return found | ({"zero": ((rows, count), floats)} if self.has_zero else {})

    def to_dict(self) -> dict[str, Any]:
        """可存成 JSON 的字典。"""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Scheme:
        """``to_dict`` 的逆。

        Raises:
            UserError: 字段不对，或值不合法。
        """
        if not isinstance(values, Mapping) or set(values) != {"format", "group", "has_zero"}:
            raise UserError("a format must name format, group and has_zero", where="quantisation format")
        return Scheme(**values)


def qat_scheme(format: Format, group: int) -> Scheme:
    """量化感知训练的存法：int4 总有零点，训练中途不换网格的样子。"""
    return Scheme("int8") if format == "int8" else Scheme("int4", group, has_zero=True)
