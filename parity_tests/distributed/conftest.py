"""整个训练的测试用同一种工作间。"""

from parity_tests.whole_runs.conftest import place

__all__ = ["place"]
