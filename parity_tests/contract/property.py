"""一条性质：应当相等的几处，和一个犯了一处真实的错、因而必须被抓住的孪生实现。

流入：实现与例子；流出：各处的误差与界。下一站：``forward.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from parity_tests.contract.cases import Case
from parity_tests.contract.gaps import Gap
from parity_tests.contract.implementation import Implementation


@dataclass(frozen=True)
class Property:
    """一条性质。

    Attributes:
        name: 英文短名。
        claim: 它说什么，英文。
        gaps: 在一个例子上逐处比较。
        twin: 弄坏的孪生。
        mistake: 孪生错在哪里，英文。
        symptoms: 孪生应当在哪几处之一露馅：``Gap.what`` 的开头。
    """

    name: str
    claim: str
    gaps: Callable[[Implementation, Case], list[Gap]]
    twin: type[Implementation]
    mistake: str
    symptoms: tuple[str, ...]
