"""仓库的外框：Makefile、CI 入口、许可证与规范文档各就各位，规范里摘录的代码与原文件一致。

流入：顶层的几个文本文件；流出：缺失或走样之处。
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parity_tests.house.repo import READMES, ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_EXCERPT = re.compile(r"摘自 \[`([^`]+)`\]\(([^)]+)\)：\n\n```python\n(.*?)```", re.DOTALL)
_CI = """#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
make lint && make test
"""


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _targets() -> list[str]:
    return re.findall(r"^([a-z-]+):", _read("Makefile"), re.MULTILINE)


def test_makefile_stays_small_and_lists_itself() -> None:
    """目标超过十一个，或 ``make`` 的帮助漏了一个，或有目标不是 PHONY。"""
    listed = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(_targets()) <= 11
    assert re.findall(r"^make ([\w-]+)", listed.stdout, re.MULTILINE) == _targets()
    assert re.findall(r"^\.PHONY: (.*)$", _read("Makefile"), re.MULTILINE) == [" ".join(_targets())]


def test_every_target_that_needs_the_venv_makes_it() -> None:
    """某个目标用到 .venv 却没有声明依赖 setup：在新克隆上会失败。"""
    rules = re.split(r"\n(?=\S)", _read("Makefile"))
    users = [rule for rule in rules if "\n\t$(BIN)" in rule or "\n\tHYPOTHESIS" in rule]
    assert len(users) >= 6
    assert all(re.match(r"[a-z-]+: setup ", rule) for rule in users)


def test_ci_runs_lint_and_tests() -> None:
    """CI 的入口被改动，或丢了可执行位。"""
    assert _read(".ci/run") == _CI
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_package_metadata_is_what_the_documents_say() -> None:
    """包名、许可证或 Python 版本与 README 不符。"""
    project = tomllib.loads(_read("pyproject.toml"))["project"]
    assert project["name"] == "zero-one-llm"
    assert project["requires-python"] == ">=3.10"
    assert project["license"] == "MIT"
    assert _read("LICENSE").startswith("MIT License\n\nCopyright (c) 2026 zero-one-llm contributors\n")
    assert all("3.10" in _read(readme) for readme in READMES)


def test_optional_libraries_stay_out_of_the_core() -> None:
    """核心依赖里混进了只有部分命令才用的库。"""
    project = tomllib.loads(_read("pyproject.toml"))["project"]
    names = {re.split(r"[<>=; ]", one)[0] for one in project["dependencies"]}
    assert names == {"numpy", "torch", "tiktoken", "safetensors", "matplotlib", "rich", "tyro", "tomli"}


def test_excerpts_in_the_standards_are_the_code() -> None:
    """规范里「摘自」某文件的代码块在那个文件里已经找不到了。"""
    text = _read("CODING_STANDARDS.md")
    excerpts = _EXCERPT.findall(text)
    assert len(excerpts) == text.count("```python") >= 5, "a python block has no source line above it"
    stale = [f"{path}: {code}" for path, link, code in excerpts if path != link or code not in _read(path)]
    assert not stale, "\n".join(stale)


def test_agents_file_holds_commands_only() -> None:
    """AGENTS.md 里除了标题与命令表还有别的内容，或命令不存在。"""
    lines = [line for line in _read("AGENTS.md").splitlines() if line]
    assert lines[0] == "# Commands"
    assert all(line.startswith("| ") for line in lines[1:])
    commands = re.findall(r"^\| `make ([\w-]+)` \|", _read("AGENTS.md"), re.MULTILINE)
    assert sorted(commands) == sorted(set(_targets()) - {"help"})


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"])
def test_test_processes_use_one_thread_each(variable: str) -> None:
    """测试进程没有限制 BLAS 线程数：几个进程会争抢 CPU 核。"""
    assert os.environ[variable]


def test_changelog_has_the_agreed_form() -> None:
    """CHANGELOG 缺少 Unreleased 一节，或小节名不在 Keep a Changelog 之列。"""
    text = _read("CHANGELOG.md")
    assert "\n## [Unreleased]\n" in text
    kinds = set(re.findall(r"^### (\w+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_a_test_that_leaks_no_grad_fails(tmp_path: Path) -> None:
    """``conftest.py`` 里的检查不起作用：关掉梯度的测试照样通过，后面的测试便悄悄失去梯度。"""
    leak = tmp_path / "test_leak.py"
    leak.write_text(
        "import tinygrad_llm\ndef test_leak(): tinygrad_llm.set_grad_enabled(False)\n"
        "def test_next(): assert tinygrad_llm.is_grad_enabled()\n",
        encoding="utf-8",
    )
    plugins = ["-p", "parity_tests.conftest", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "--rootdir", str(tmp_path), str(leak)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "left tinygrad_llm with gradients disabled" in result.stdout
    assert "2 passed, 1 error" in result.stdout
