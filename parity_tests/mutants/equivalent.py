"""看不出来的变异体：改了写法没有改函数的，逐条写明为什么任何测试都认不出它。

键是 ``Mutant.name``。表里的哪一条若被测试认出来了，或不再存在，``test_mutants.py`` 与 ``--write`` 就报错。
"""

from __future__ import annotations

TIE = "只在两边相等时不同，而那里两条分支给出同一个数"

EQUIVALENT: dict[str, str] = {
    "prelu.w [condition] x > 0 -> x >= 0": "只在 x = 0 时不同，那里另一条分支是 g·x = 0",
}
"""变异体的名字 → 为什么它与原文是同一个函数。"""
