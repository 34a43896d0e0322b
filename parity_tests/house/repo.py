"""读仓库：有哪些文件，语法树长什么样，README 中标记之间写了什么。

流入：磁盘上的仓库；流出：路径、语法树与文本块，供 ``checks.py``、``chapters.py``、``tree.py`` 使用。
"""

from __future__ import annotations

import ast
import fnmatch
import functools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tinygrad_llm", "torch_llm")
READMES = ("README.md", "README.zh-CN.md")


def is_ignored(name: str) -> bool:
    """名字是否被 ``.gitignore`` 排除（其中只有不含路径的简单模式）。"""
    patterns = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    return name == ".git" or any(fnmatch.fnmatch(name, pattern.strip("/")) for pattern in patterns)


def entries(folder: Path) -> list[Path]:
    """``folder`` 下未被忽略的直接子项，按名字排序；没有内容的目录不算（git 也不记录它们）。"""
    found = sorted(path for path in folder.iterdir() if not is_ignored(path.name))
    return [path for path in found if not path.is_dir() or any(files(path))]


def files(folder: Path) -> Iterator[Path]:
    """``folder`` 下全部未被忽略的文件，递归且有序。"""
    for path in entries(folder):
        if path.is_dir():
            yield from files(path)
        else:
            yield path


def modules(*folders: str) -> list[Path]:
    """若干顶层目录里的全部 Python 文件；尚不存在的目录视为空。"""
    found = (files(ROOT / folder) for folder in folders if (ROOT / folder).is_dir())
    return [path for group in found for path in group if path.suffix == ".py"]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """解析一个 Python 文件；同一进程里只解析一次。"""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def relative(path: Path) -> str:
    """相对于仓库根的路径，用 ``/`` 分隔，便于写进错误消息。"""
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    """模块的点分名；包的 ``__init__.py`` 就是包名。"""
    return relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def is_module(name: str) -> bool:
    """点分名在仓库里是否对应一个模块或包。"""
    target = ROOT.joinpath(*name.split("."))
    return target.is_dir() or target.with_suffix(".py").is_file()


def _block_pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {name} -->\n)(.*?)(?=<!-- /{name} -->)", re.DOTALL)


def read_block(text: str, name: str) -> str:
    """取出 ``<!-- name -->`` 与 ``<!-- /name -->`` 之间的文本。

    Raises:
        ValueError: 文中没有这对标记，或多于一对。
    """
    found = _block_pattern(name).findall(text)
    if len(found) != 1:
        raise ValueError(f"expected exactly one <!-- {name} --> block, found {len(found)}")
    return str(found[0]).strip()


def write_block(text: str, name: str, body: str) -> str:
    """把同一对标记之间的文本换成 ``body``，其余不动。"""
    read_block(text, name)
    return _block_pattern(name).sub(lambda _: body + "\n", text)
