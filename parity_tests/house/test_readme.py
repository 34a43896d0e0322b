"""两份 README 说的都是真的：目录树与磁盘一致，进度表与章节一致，命令与链接都存在，例子能运行。

流入：README.md 与 README.zh-CN.md；流出：与实际不符之处。树与表由 ``tree.py``、``chapters.py`` 维护。
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from parity_tests.house import chapters, tree
from parity_tests.house.repo import READMES, ROOT, read_block

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#:]+)\)")
_TREE_COMMAND = "run python -m parity_tests.house.tree --write and add the missing notes"
_TREE_LINES = 110
# README 里写的步数是给人的，测试只走它的百分之一，其余参数原样。
_SHORTENED, _FACTOR = ("--steps", "--stop-at"), 100


def _text(readme: str) -> str:
    return (ROOT / readme).read_text(encoding="utf-8")


def _blocks(readme: str, language: str) -> list[str]:
    return [body for name, body in _FENCE.findall(_text(readme)) if name == language]


def _commands(readme: str) -> list[list[str]]:
    lines = "".join(_blocks(readme, "bash")).splitlines()
    commands = [shlex.split(line, comments=True) for line in lines]
    return [command for command in commands if command]


@pytest.mark.parametrize("readme", READMES)
def test_tree_matches_the_disk(readme: str) -> None:
    """树里有磁盘上没有的项，或漏了顶层的项、包里的直接子包与模块，或有一项没有注释。"""
    notes = tree.parse(read_block(_text(readme), "tree"))
    gone = [path for path in notes if not tree.is_on_disk(path)]
    missing = tree.missing(notes)
    assert not gone, f"not on disk: {gone}; {_TREE_COMMAND}"
    assert not missing, f"not in the tree: {missing}; {_TREE_COMMAND}"
    bare = [path for path, note in notes.items() if not note]
    assert not bare, f"without a note: {bare}"
    assert len(notes) <= _TREE_LINES, f"{len(notes)} lines: keep only the files worth reading first in the sub-folders"


def test_tree_of_both_languages_has_the_same_order() -> None:
    """两份 README 的树次序不同，对照着读会找不到。"""
    english, chinese = (list(tree.parse(read_block(_text(readme), "tree"))) for readme in READMES)
    assert english == chinese


def test_drawing_a_tree_undoes_reading_it() -> None:
    """维护树的脚本自身：读进来再画出去，路径、次序与注释都不变。"""
    notes = {"b.md": "second", "a/": "folder", "a/x/": "deep", "a/x/y.py": "leaf", "a/z.py": "", "c": "last"}
    assert tree.parse(tree.render(notes)) == notes
    assert list(tree.parse(tree.render(notes))) == list(notes)


@pytest.mark.parametrize("readme", READMES)
def test_chapter_table_matches_the_folders(readme: str) -> None:
    """进度表与 examples/ 的实际内容不符。"""
    expected = chapters.table(readme)
    assert read_block(_text(readme), "chapters") == expected, "run python -m parity_tests.house.chapters --write"


def test_a_chapter_is_done_only_when_all_four_parts_have_content(tmp_path: Path) -> None:
    """章节状态的规则：缺一部分、或有一部分是空的，就不算完成。"""
    assert chapters.status(tmp_path) == "planned"
    (tmp_path / "README.md").write_text("# 第一章 引言\n", encoding="utf-8")
    for part in ("main", "experiments", "exercises"):
        assert chapters.status(tmp_path) == "started"
        (tmp_path / part).mkdir()
        (tmp_path / part / "run.py").write_text("", encoding="utf-8")
    assert chapters.status(tmp_path) == "started"
    for part in ("main", "experiments", "exercises"):
        (tmp_path / part / "run.py").write_text('"""代码。"""\n', encoding="utf-8")
    assert chapters.status(tmp_path) == "done"


@pytest.mark.parametrize("readme", READMES)
def test_first_lines_say_that_it_is_not_tinygrad(readme: str) -> None:
    """开头几行没有说明与 tinygrad 框架无关。"""
    opening = "\n".join(_text(readme).splitlines()[:6])
    assert "independent of the [tinygrad]" in opening or "框架无关" in opening


@pytest.mark.parametrize("readme", [*READMES, "CODING_STANDARDS.md", "CHANGELOG.md", "AGENTS.md"])
def test_links_lead_to_files(readme: str) -> None:
    """文中的相对链接指向不存在的文件。"""
    missing = [link for link in _LINK.findall(_text(readme)) if not (ROOT / link).exists()]
    assert not missing


@pytest.mark.parametrize("readme", READMES)
def test_make_commands_exist(readme: str) -> None:
    """文中的 make 目标在 Makefile 里不存在。"""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = [command for command in _commands(readme) if command[0] == "make"]
    assert {"run", "test"} <= {command[1] for command in commands}
    assert all(re.search(rf"^{command[1]}:", makefile, re.MULTILINE) for command in commands)


def test_both_readmes_show_the_same_commands_and_code() -> None:
    """两份 README 的命令或代码例子不同：下面只运行其中一份就够了。"""
    english, chinese = READMES
    assert _commands(english) == _commands(chinese)
    assert _blocks(english, "python") == _blocks(chinese, "python")
    assert _blocks(english, "sh") == _blocks(chinese, "sh")


def test_commands_run_as_written(tmp_path: Path) -> None:
    """文中的训练与生成命令不能按次序跑通；步数缩短，其余参数原样。"""
    commands = [command for command in _commands(READMES[0]) if command[0] == ".venv/bin/python"]
    assert commands, "README shows no python command"
    for command in commands:
        arguments = [str(int(word) // _FACTOR) if before in _SHORTENED else word for before, word in pairwise(command)]
        _run(arguments, tmp_path)


def test_code_examples_run_as_written(tmp_path: Path) -> None:
    """文中的 Python 例子不能运行。"""
    examples = _blocks(READMES[0], "python")
    assert examples, "README shows no python example"
    for example in examples:
        _run(["-c", example], tmp_path)


def _run(arguments: list[str], folder: Path) -> None:
    """在空目录里运行一条 Python 命令；失败时把它的报错带进测试的消息。"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, env=environment
    )
    assert result.returncode == 0, f"{' '.join(arguments)}\n{result.stderr[-2000:]}"
