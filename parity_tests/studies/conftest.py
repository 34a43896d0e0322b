"""工作间与训练的测试相同。"""

from __future__ import annotations

from parity_tests.whole_runs.conftest import place

__all__ = ["place"]
