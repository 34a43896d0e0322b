"""与整次训练的测试同样的工作间。"""

from parity_tests.whole_runs.conftest import place

__all__ = ["place"]
