"""总账：每个算子、每种 dtype、每类形状，引擎与 torch、与中心差分最大差多少。

流入：``engine/op_table.py`` 的一行行对照；流出：终端的表、JSON、网页与徽章，每一格附一个能跑的最小例子。
先读 ``measure.py``，再读 ``shrink.py``、``survey.py`` 与 ``report.py``；``device.py`` 在真的加速卡上核对同一件事。
"""

from parity_tests.ledger.replay import replay

__all__ = ["replay"]
