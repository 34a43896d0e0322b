"""README 里带注释的目录树：顶层与两个包的第一层都在，更深的文件只列值得先读的几个。

流入：磁盘上的文件，与两份 README 中 ``<!-- tree -->`` 标记之间已有的次序和注释；流出：补全之后的树。
用法：``python -m parity_tests.house.tree --write``。新文件排在所在目录的末尾，中文注释取自模块文档的首句，
英文注释留空，由人补写（测试不接受空的注释）；挪动一行，次序就记住了。子目录里要多列一个文件，把那一行手写进树里即可。
同一类的几个文件可以并成一行：名字用逗号隔开，合用一句注释。
"""

from __future__ import annotations

import argparse
import ast
import re

from parity_tests.house.repo import PACKAGES, READMES, ROOT, entries, read_block, tree_of, write_block

_TITLE = "zero-one-llm/"
_LINE = re.compile(r"^(?P<bars>(?:[│ ] {3})*)[├└]── (?P<name>\S+) *(?P<note>.*)$")
_NOTE_COLUMN = 36


def required() -> list[str]:
    """树里必须有的路径：顶层的每一项，以及两个包里的直接子包与模块；目录以 ``/`` 结尾。"""
    found = []
    for path in entries(ROOT):
        found.append(path.name + "/" * path.is_dir())
        if path.name in PACKAGES:
            inside = [one for one in entries(path) if one.is_dir() or one.suffix == ".py"]
            found += [f"{path.name}/{one.name}" + "/" * one.is_dir() for one in inside if one.stem != "__init__"]
    return found


def single(entry: str) -> list[str]:
    """树里的一项是哪几个路径：``a/b.py,c.py`` 是 ``a/b.py`` 与 ``a/c.py``。"""
    folder, slash, names = entry.rstrip("/").rpartition("/")
    return [folder + slash + name + "/" * entry.endswith("/") for name in names.split(",")]


def is_on_disk(entry: str) -> bool:
    """树里的一项（目录以 ``/`` 结尾）在磁盘上还有。"""
    return all((ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file() for path in single(entry))


def missing(notes: dict[str, str]) -> list[str]:
    """树里漏掉的路径。"""
    return sorted(set(required()) - {path for entry in notes for path in single(entry)})


def parse(block: str) -> dict[str, str]:
    """把一棵树读成「路径 → 注释」，保持次序。

    Args:
        block: 两个标记之间的文本，含代码围栏。

    Returns:
        目录以 ``/`` 结尾的路径到它的注释；没有注释时为空串。

    Raises:
        ValueError: 有一行不是树的写法。
    """
    lines = block.strip().splitlines()
    if len(lines) < 3 or not lines[0].startswith("```") or lines[1] != _TITLE or lines[-1] != "```":
        raise ValueError(f"the tree must be a fenced block that starts with {_TITLE}")
    notes: dict[str, str] = {}
    parents: list[str] = []
    for line in lines[2:-1]:
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"not a line of the tree: {line!r}")
        depth = len(match["bars"]) // 4
        del parents[depth:]
        notes["".join(parents) + match["name"]] = match["note"].strip()
        parents.append(match["name"])
    return notes


def render(notes: dict[str, str]) -> str:
    """把「路径 → 注释」画成一棵树，含代码围栏。"""
    return "\n".join(["```text", _TITLE, *_branch("", "", notes), "```"])


def _branch(parent: str, bars: str, notes: dict[str, str]) -> list[str]:
    inside = [path for path in notes if path.startswith(parent) and path != parent]
    children = [path for path in inside if "/" not in path[len(parent) :].rstrip("/")]
    lines = []
    for path in children:
        is_last = path == children[-1]
        stem = f"{bars}{'└' if is_last else '├'}── {path[len(parent) :]}"
        lines.append(f"{stem:<{_NOTE_COLUMN}} {notes[path]}".rstrip())
        if path.endswith("/"):
            lines += _branch(path, bars + (" " if is_last else "│") + "   ", notes)
    return lines


def completed(block: str, *, use_docstrings: bool) -> str:
    """返回与磁盘一致的树：去掉已不存在的项，补上缺少的项，其余的次序与注释不动。"""
    known = parse(block)
    merged = {path: note for path, note in known.items() if is_on_disk(path)}
    merged |= {path: _docstring(path) if use_docstrings else "" for path in missing(known)}
    return render(merged)


def _docstring(path: str) -> str:
    """模块文档的首句，不含句号；不是 Python 文件时为空。"""
    module = ROOT / (path + "__init__.py" if path.endswith("/") else path)
    if module.suffix != ".py" or not module.is_file():
        return ""
    return (ast.get_docstring(tree_of(module)) or "").partition("。")[0].replace("``", "`")


def main() -> None:
    """补全两份 README 里的树，或只列出缺少与多余的项。"""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.house.tree")
    parser.add_argument("--write", action="store_true", help="complete the trees in both READMEs")
    is_writing = parser.parse_args().write
    for name in READMES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        block = read_block(text, "tree")
        if is_writing:
            new = completed(block, use_docstrings=name == "README.zh-CN.md")
            path.write_text(write_block(text, "tree", new), encoding="utf-8")
        else:
            listed = parse(block)
            gone = [path for path in listed if not is_on_disk(path)]
            print(name, *gone, *missing(listed), sep="\n  ")


if __name__ == "__main__":
    main()
