"""读回填过的练习：哪张练习，各格写了什么。

流入：Markdown 文件；流出：注释里的说明，与编号到文字。表格的最后一列之外，随便怎么改都不要紧。下一站：``grading.py``。
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygrad_llm.common.errors import DataError
from tinygrad_llm.tracing.worksheet.sheet import MARK

_ABOUT = re.compile(rf"<!--\s*{MARK}:\s*(\{{.*\}})\s*-->")
_CELL = re.compile(r"\s*\|\s*\**`?([FDCSG][0-9]+)`?\**\s*\|")
_BORDER = re.compile(r"(?<!\\)\|")

_AGAIN = "write a new one with --worksheet"


def read_text(path: Path) -> str:
    """文件的内容。

    Raises:
        DataError: 读不了。
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError("the worksheet is not UTF-8 text", where=str(path), fix="save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"cannot read the worksheet: {error.strerror}", where=str(path), fix="check the path") from None


def read_about(text: str, where: str) -> dict[str, Any]:
    """注释里的说明：程序、种子、指纹。

    Raises:
        DataError: 不是练习，或注释被改坏了。
    """
    match = _ABOUT.search(text)
    if match is None:
        raise DataError(
            f"this is not a worksheet: the comment <!-- {MARK}: ... --> is missing", where=where, fix=_AGAIN
        )
    try:
        about = json.loads(match[1])
    except ValueError:
        raise DataError("the worksheet's comment is damaged", where=where, fix=_AGAIN) from None
    if not isinstance(about, dict) or about.get("version") != 1 or not isinstance(about.get("fingerprint"), str):
        raise DataError("the worksheet was written by another version", where=where, fix=_AGAIN)
    return about


def read_cells(text: str, known: Mapping[str, Any], where: str) -> dict[str, str]:
    """各格写下的文字；表里没有的格不在其中。

    Args:
        text: 练习的全文。
        known: 这张练习有哪些格。
        where: 报错时说的位置。

    Raises:
        DataError: 有一行的编号不在练习里、出现了两次，或者那一行被改坏了。
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _CELL.match(line)
        if match is None:
            continue
        name, here = match[1], f"{where}, line {number}"
        if name not in known:
            raise DataError(f"there is no cell {name} in this worksheet", where=here, fix="restore the cell's number")
        if name in found:
            raise DataError(f"cell {name} is there twice", where=here, fix="delete one of the two rows")
        columns = _BORDER.split(line.strip().removeprefix("|").removesuffix("|"))
        if len(columns) < 3:
            raise DataError(f"the row of cell {name} is broken", where=here, fix="keep its columns; edit the last one")
        found[name] = columns[-1].strip()
    return found


def filled(text: str, answers: Mapping[str, str]) -> str:
    """各格的最后一列换成给定的文字，其余一字不动。"""
    lines = []
    for line in text.splitlines():
        match = _CELL.match(line)
        if match is not None and match[1] in answers:
            end = line.rstrip()
            end = end.removesuffix("|")
            start = list(_BORDER.finditer(end))[-1].end()
            line = f"{end[:start]} `{answers[match[1]]}` |"
        lines.append(line)
    return "\n".join(lines) + "\n"
