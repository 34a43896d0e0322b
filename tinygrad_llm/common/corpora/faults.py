"""坏输入的两种处置：就此停下，或按原因计数后略过。

流入：读取器与清洗各阶段发现的问题；流出：一条指名文件与行号的 ``DataError``，或一份计数。
下一个文件：``readers.py``。
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tinygrad_llm.common.errors import DataError, UserError

__all__ = ["ON_ERROR", "BadInput", "Faults"]

ON_ERROR = ("stop", "skip")


class BadInput(Exception):  # noqa: N818  它不是终点：读取器接住它，交给 Faults 决定停下还是略过
    """一份坏输入，尚不知道在哪个文件。

    Attributes:
        problem: 哪里错了（一句英文）。
        fix: 怎么办。
        reason: 计数用的原因。
        lines: 出错处在这份输入的第几行，从 0 起。
    """

    def __init__(self, problem: str, fix: str, reason: str, lines: int = 0) -> None:
        super().__init__(problem)
        self.problem, self.fix, self.reason, self.lines = problem, fix, reason, lines


@dataclass
class Faults:
    """一次读取里的全部问题。

    可以 pickle，于是各进程各记各的，再由 ``merge`` 合到一处。

    Attributes:
        on_error: ``"stop"`` 遇到第一个问题就停；``"skip"`` 计数并略过。
        counts: 原因到次数；只有 ``"skip"`` 才会有内容。
        first: 原因到它第一次出现的位置。
        offers_skip: 停下时是否告诉用户还可以 ``--on-error skip``；命令没有这个参数时为假。
    """

    on_error: str = "stop"
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    offers_skip: bool = True

    def __post_init__(self) -> None:
        if self.on_error not in ON_ERROR:
            raise UserError(f"on_error must be stop or skip, got {self.on_error!r}", fix="use --on-error skip")

    def report(self, problem: str, where: str = "", fix: str = "", *, reason: str = "") -> None:
        """报告一个问题；若返回，调用者应略过这一份输入，继续下一份。

        Args:
            problem: 哪里错了（一句英文，不含换行）。
            where: 在哪：``"文件:行号"``。
            fix: 怎么办；停下时补上「或用 ``--on-error skip``」。
            reason: 计数用的原因，同类问题写同一句；不给就用 ``problem``。``problem`` 里有具体的数字时才需要。

        Raises:
            DataError: ``on_error`` 是 ``"stop"``。
        """
        if self.on_error == "stop":
            skip = "skip such input with --on-error skip" if self.offers_skip else ""
            raise DataError(problem, where=where, fix=", or ".join(filter(None, [fix, skip])))
        reason = reason or problem
        self.counts[reason] += 1
        self.first.setdefault(reason, where)

    def take(self, bad: BadInput, path: object, line: int | None = None) -> None:
        """接住读取器的一份坏输入，添上位置后照 ``report`` 处置。

        Args:
            bad: 坏输入。
            path: 文件或语料名。
            line: 这份输入的首行，从 1 起；``None`` 表示问题出在整个文件。

        Raises:
            DataError: ``on_error`` 是 ``"stop"``。
        """
        where = str(path) if line is None else f"{path}:{line + bad.lines}"
        self.report(bad.problem, where, bad.fix, reason=bad.reason)

    def merge(self, other: Faults) -> None:
        """并入另一份计数；同一原因的位置以先并入者为准。"""
        self.counts.update(other.counts)
        for reason, where in other.first.items():
            self.first.setdefault(reason, where)

    def summary(self) -> str:
        """每个原因一行，多的在前；没有略过任何东西时为空串。"""
        return "\n".join(
            f"skipped {count:,}: {reason}" + (f" (first: {self.first[reason]})" if self.first.get(reason) else "")
            for reason, count in sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))
        )
