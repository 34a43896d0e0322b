"""每个测试一间干净的工作间。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from parity_tests.whole_runs.commands import Place
from tinygrad_llm.common import report


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    """一段小文本与一个还不存在的运行文件夹；报告照写，只是不画图：画图占一次小训练的四分之三时间。"""

    def no_charts(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
        return []

    monkeypatch.setattr(report, "_training_charts", no_charts)
    return Place(tmp_path, capsys)
