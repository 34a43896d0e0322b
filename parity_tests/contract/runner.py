"""怎样核对：一条性质走许多例子，记下最大的误差；孪生必须失败，而且败在该败之处。

流入：性质与实现；流出：``Verdict`` 与 ``TwinVerdict``。下一站：``command.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from parity_tests.contract import decoding, forward, pieces, training
from parity_tests.contract.cases import Case, cases
from parity_tests.contract.gaps import Gap
from parity_tests.contract.implementation import Implementation
from parity_tests.contract.property import Property

PROPERTIES = (*forward.PROPERTIES, *training.PROPERTIES, *decoding.PROPERTIES, *pieces.PROPERTIES)
"""全部性质。"""

CLEARLY = 1e3
"""孪生的误差至少是界的这么多倍：抓住它的是错误本身，不是过紧的界。"""


class BrokenError(AssertionError):
    """一条性质在某个例子上不成立。"""


@dataclass
class Verdict:
    """一条性质在一个实现上的结论。

    Attributes:
        examples: 走了多少个例子。
        comparisons: 比了多少处。
        worst: 占界最多的一处。
        failure: 不成立时，缩小之后的例子；成立时为空。
    """

    examples: int = 0
    comparisons: int = 0
    worst: Gap | None = None
    failure: str = ""


@dataclass
class TwinVerdict:
    """孪生的结论。

    Attributes:
        examples: 走了多少个例子。
        caught: 其中多少个抓住了它；有的例子小得容不下那个错。
        gap: 错得最多的那一处。
        complaint: 没有抓住，或抓得不对，为什么；合格时为空。
    """

    examples: int = 0
    caught: int = 0
    gap: Gap | None = field(default=None)
    complaint: str = ""


def check(one: Property, implementation: Implementation, case: Case) -> list[Gap]:
    """在一个例子上核对。

    Raises:
        BrokenError: 有一处超出了界。
    """
    gaps = one.gaps(implementation, case)
    for gap in gaps:
        if gap.is_broken:
            raise BrokenError(
                f"{one.name} does not hold on {implementation.engine}: {gap.what} differs by {gap.error:.3g}, "
                f"at most {gap.bound:.3g} is rounding; {case}"
            )
    return gaps


def prove(one: Property, implementation: Implementation, examples: int, start: int = 0) -> Verdict:
    """核对许多例子；失败的例子缩小之后写进结论。

    Args:
        one: 性质。
        implementation: 实现。
        examples: 多少个例子。
        start: 取样的种子。

    Returns:
        结论。
    """
    found = Verdict()

    def visit(case: Case) -> None:
        gaps = check(one, implementation, case)
        found.examples += 1
        found.comparisons += len(gaps)
        found.worst = max([*gaps, *([found.worst] if found.worst else [])], key=lambda gap: gap.share)

    try:
        _walk(visit, cases(), examples, start, shrink=True)
    except BrokenError as broken:
        found.failure = str(broken)
    return found


def catch(one: Property, implementation: Implementation, examples: int, start: int = 0) -> TwinVerdict:
    """孪生必须被抓住，露馅在 ``symptoms`` 那一处，远超出界；而在错误不起作用的例子上，它应当全部通过。

    Args:
        one: 性质。
        implementation: 好的实现：孪生与它同一个引擎、设备与类型。
        examples: 至多多少个例子。
        start: 取样的种子。

    Returns:
        结论。
    """
    twin = one.twin(implementation.engine, implementation.device, implementation.dtype)
    found = TwinVerdict()

    def visit(case: Case) -> None:
        found.examples += 1
        clear = [g for g in one.gaps(twin, case) if g.is_broken and g.error > CLEARLY * g.bound]
        seen = [gap for gap in clear if gap.what.startswith(one.symptoms)]
        found.caught += bool(seen)
        found.gap = max([*seen, *([found.gap] if found.gap else [])], key=lambda gap: gap.error, default=None)
        if clear and not seen:
            found.complaint = f"it failed for another reason: {clear[0].what}"

    _walk(visit, cases(), examples, start)
    if found.complaint or found.gap is None:
        found.complaint = found.complaint or "the broken twin was not caught"
        return found
    try:
        _walk(lambda case: void(check(one, twin, case)), cases(harmless=True), max(examples // 5, 3), start)
    except BrokenError as broken:
        found.complaint = f"it fails even where its mistake has no effect: {broken}"
    return found


def void(_: object) -> None:
    """丢掉结果。"""


def _walk(
    visit: Callable[[Case], None], strategy: st.SearchStrategy[Case], examples: int, start: int, *, shrink: bool = False
) -> None:
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    options = settings(
        max_examples=examples,
        phases=phases,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    seed(start)(options(given(strategy)(visit)))()
