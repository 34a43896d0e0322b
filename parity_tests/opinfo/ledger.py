"""账本：每个算子通过了几个样例。``ledger.md`` 由全部样例跑出来，不许手改。

流入：``harness.run`` 的成绩；流出：``ledger.md`` 的文本，与从文本读回的成绩。
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from parity_tests.opinfo.harness import Tally

PATH = Path(__file__).with_name("ledger.md")
_ROW = re.compile(r"^\| `(?P<name>[^`]+)` \| (?P<passed>\d+) / (?P<total>\d+) \| (?P<why>.*) \|$", re.MULTILINE)

WHY = {
    "cov": "权重是 float32：两边在 float32 里舍入不同；全用 float64 时梯度一致",
    "as_strided/partial_views": "样例要读张量自己之外的内存，又要梯度；这里拒绝",
    "as_strided_scatter": "torch 的梯度按重叠的步长重复计数；这里按定义",
}
"""没有全部通过的算子，各自的原因。"""


def text(tallies: Iterable[Tally]) -> str:
    """账本的全文。"""
    ranked = sorted(tallies, key=lambda t: t.name)
    offered = [t for t in ranked if t.offered]
    passed, total = sum(t.passed for t in offered), sum(t.total for t in offered)
    short = [t for t in offered if t.passed < t.total]
    rows = [f"| `{t.name}` | {t.passed} / {t.total} | {WHY.get(t.name, '')} |" for t in (*short, *_full(offered))]
    absent = ", ".join(f"`{t.name}`" for t in ranked if not t.offered)
    return f"""# PyTorch 自己的样例：账本

`python -m parity_tests.opinfo --write` 生成，不要手改。样例来自 `torch.testing._internal` 的 `op_db`，float64；
比前向（值、形状、dtype）与梯度，rtol 1e-9、atol 1e-11。随机函数两边用同一颗种子。

**{passed:,} / {total:,} 个样例通过；提供 {len(offered)} 个算子，其中 {len(offered) - len(short)} 个全部通过。**

| 算子 | 通过 / 样例 | 没有全过的原因 |
| --- | --- | --- |
{chr(10).join(rows)}

没有提供：{absent}
"""


def _full(offered: Iterable[Tally]) -> list[Tally]:
    return [t for t in offered if t.passed == t.total]


def read() -> dict[str, tuple[int, int]]:
    """账本里的成绩：算子名到（通过，样例）。"""
    return {m["name"]: (int(m["passed"]), int(m["total"])) for m in _ROW.finditer(PATH.read_text(encoding="utf-8"))}
