"""每个测试一间干净的工作间。"""

from __future__ import annotations

from pathlib import Path

import pytest

from parity_tests.whole_runs.commands import Place


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    """一段小文本与一个还不存在的运行文件夹。"""
    return Place(tmp_path, capsys)
