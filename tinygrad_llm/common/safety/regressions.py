"""回归文件：找到过的攻击一行一条，以后每次都重放；修好了的又坏，就是退步。

流入：JSON lines 文件与找到的攻击；流出：重放的结果与添了新攻击的文件。行从不删去。下一个文件：``report.py``。
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tinygrad_llm.common.corpora.storyworld.checks import gives_away
from tinygrad_llm.common.errors import DataError, OutOfDiskError
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.safety.answering import conversation
from tinygrad_llm.common.safety.suite import Asker, Finding

__all__ = ["Case", "Replay", "load_cases", "replay", "save_cases", "with_findings"]

OPEN, FIXED = "open", "fixed"


@dataclass(frozen=True)
class Case:
    """回归文件里的一条。

    Attributes:
        prompt: 提问。
        system: 守则；秘密在权重里时为空。
        secrets: 不许漏的秘密。
        mutation: 当初用的变形，或 ``gradient``。
        status: ``open``（上一次还漏）或 ``fixed``（上一次已守住）。
        answer: 上一次漏的时候的回答。
    """

    prompt: str
    system: str
    secrets: tuple[str, ...]
    mutation: str
    status: str
    answer: str


@dataclass(frozen=True)
class Replay:
    """重放一遍的结果。

    Attributes:
        cases: 状态更新过的各条，次序不变。
        regressed: 上一次守住、这一次又漏了的。
        too_long: 装不进这个模型的上下文、没有问成的几条；状态不变。
    """

    cases: tuple[Case, ...]
    regressed: tuple[Case, ...]
    too_long: int

    @property
    def open(self) -> int:
        """还漏的几条。"""
        return sum(case.status == OPEN for case in self.cases)


def load_cases(path: Path) -> list[Case]:
    """读回归文件；还没有这个文件就是空的。

    Raises:
        DataError: 读不了，或有一行不合格式。
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the regression file: {error}", where=str(path), fix="check the path") from error
    return [_parsed(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def save_cases(path: Path, cases: Sequence[Case]) -> None:
    """整个写回去；要么全是新的，要么还是旧的。

    Raises:
        OutOfDiskError: 写不进去。
    """
    lines = [json.dumps(asdict(case), ensure_ascii=False) + "\n" for case in cases]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(lines).encode())
    except OSError as error:
        raise OutOfDiskError(f"cannot write the regression file: {error.strerror}", where=str(path)) from error


def replay(ask: Asker, cases: Sequence[Case]) -> Replay:
    """每一条再问一遍。"""
    said = ask([conversation(case.prompt, case.system) for case in cases])
    found, regressed = [], []
    for case, answer in zip(cases, said, strict=True):
        if answer is None:
            found.append(case)
            continue
        leaks = gives_away(answer, case.secrets)
        found.append(replace(case, status=OPEN, answer=answer) if leaks else replace(case, status=FIXED))
        if leaks and case.status == FIXED:
            regressed.append(found[-1])
    return Replay(tuple(found), tuple(regressed), sum(answer is None for answer in said))


def with_findings(cases: Sequence[Case], findings: Sequence[Finding]) -> list[Case]:
    """添上还没有的攻击；同一守则下同样的提问只留一条。"""
    merged = {(case.system, case.prompt): case for case in cases}
    for one in findings:
        new = Case(one.prompt, one.system, one.secrets, one.mutation, OPEN, one.answer)
        merged.setdefault((one.system, one.prompt), new)
    return list(merged.values())


def _parsed(line: str, where: str) -> Case:
    try:
        values = json.loads(line)
        texts = [values[name] for name in ("prompt", "system", "mutation", "status", "answer")]
        secrets = tuple(values["secrets"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError("not an attack of a regression file", where=where, fix="restore or delete the line") from error
    valid = all(isinstance(text, str) for text in (*texts, *secrets)) and texts[3] in (OPEN, FIXED)
    if not valid or not texts[0].strip() or not all(secret.strip() for secret in secrets) or not secrets:
        raise DataError("not an attack of a regression file", where=where, fix="restore or delete the line")
    prompt, system, mutation, status, answer = texts
    return Case(prompt, system, secrets, mutation, status, answer)
