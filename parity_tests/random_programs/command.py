"""``python -m parity_tests programs``：跑许多随机程序，有不同的改到最小，印成两个引擎都能跑的代码。

流入：种子与个数；流出：终端上的一行进度、最小的反例，以及 ``ledger.md``。
"""

from __future__ import annotations

import collections
import dataclasses
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import tinygrad_llm
from parity_tests.random_programs.generating import generate
from parity_tests.random_programs.judging import EXPLAINED, Difference, compare
from parity_tests.random_programs.program import Program
from parity_tests.random_programs.shrinking import shrink
from parity_tests.random_programs.writing import script
from tinygrad_llm.common.errors import UserError

LEDGER = Path(__file__).with_name("ledger.md")


@dataclasses.dataclass(frozen=True)
class Config:
    """命令行的参数。"""

    count: int = 500
    """how many programs to run"""
    seed: int = -1
    """seed of the run; -1 draws one and prints it"""
    start: int = 0
    """index of the first program: --seed S --start I --count 1 replays one"""
    stop_after: int = 5
    """stop after so many unexplained differences"""
    show: bool = False
    """print every program as code before running it"""
    shrink: bool = True
    """reduce a program that differs before printing it"""
    write: bool = False
    """write the figures of this run to ledger.md"""

    def __post_init__(self) -> None:
        problems = [f"--{name} must be > 0" for name in ("count", "stop_after") if getattr(self, name) < 1]
        if self.start < 0:
            problems.append("--start must be >= 0")
        if problems:
            raise UserError("; ".join(problems), fix="try --count 500 --seed 1")


@dataclasses.dataclass
class Tally:
    """一次运行的数字。

    Attributes:
        seed: 种子。
        programs: 跑了几个程序。
        steps: 一共几步。
        gradients: 比了几个梯度（反传成功的程序里求导的叶子）。
        kinds: 各种反传的程序数。
        targets: 每个算子出现的次数。
        refused: torch 拒绝其中一步或反传的程序数。
        explained: 有解释的不同，见 ``judging.EXPLAINED``。
        unexplained: 解释不了的：序号与不同。
        elapsed_s: 用时，秒。
    """

    seed: int
    programs: int = 0
    steps: int = 0
    gradients: int = 0
    kinds: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    targets: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    refused: int = 0
    explained: list[tuple[int, Difference]] = dataclasses.field(default_factory=list)
    unexplained: list[tuple[int, Difference]] = dataclasses.field(default_factory=list)
    elapsed_s: float = 0.0


def main(config: Config) -> None:
    """跑完，打印，有解释不了的不同就以 1 退出。"""
    torch.set_num_threads(1)
    seed = config.seed if config.seed >= 0 else random.SystemRandom().randrange(2**31)
    tally = Tally(seed)
    print(f"seed {seed}, programs {config.start} to {config.start + config.count - 1}", flush=True)
    started_at = time.monotonic()
    for index in range(config.start, config.start + config.count):
        program = generate(seed, index)
        if config.show:
            print(f"# --seed {seed} --start {index}\n{script(program)}")
        found = compare(tinygrad_llm, program)
        count(tally, index, program, found)
        if found is not None and found.kind not in EXPLAINED:
            print(report(seed, index, program, found, config.shrink), flush=True)
            if len(tally.unexplained) >= config.stop_after:
                break
        tally.elapsed_s = time.monotonic() - started_at
        if tally.programs % 500 == 0:
            print(summary(tally), flush=True)
    print(summary(tally))
    if config.write:
        LEDGER.write_text(ledger(tally), encoding="utf-8")
    if tally.unexplained:
        sys.exit(1)


def count(tally: Tally, index: int, program: Program, found: Difference | None) -> None:
    """记上一个程序。"""
    tally.programs += 1
    tally.steps += len(program.steps)
    tally.targets.update(step.target for step in program.steps)
    tally.kinds[program.backward if program.outputs else "refused"] += 1
    tally.refused += not program.outputs
    tally.gradients += sum(leaf.requires_grad for leaf in program.leaves) if program.outputs else 0
    if found is not None:
        (tally.explained if found.kind in EXPLAINED else tally.unexplained).append((index, found))


def report(seed: int, index: int, program: Program, found: Difference, is_shrunk: bool = True) -> str:
    """一个不同：是什么，以及最小的程序。"""
    smallest = minimal(program, found) if is_shrunk else program
    again = compare(tinygrad_llm, smallest) or found
    replay = f"python -m parity_tests programs --seed {seed} --start {index} --count 1"
    head = f"# {found.kind} at {found.where}; replay: {replay}"
    told = "\n".join(f"# {line}" for line in again.message.splitlines())
    return f"{head}\n# {len(program.steps)} steps, reduced to {len(smallest.steps)}\n{told}\n{script(smallest)}"


def minimal(program: Program, found: Difference) -> Program:
    """改小一个程序，同一个变量上的同一种不同还在。"""
    place = found.where.removeprefix("v").split(".")[0]
    watched = dataclasses.replace(program, watched=int(place) if place.isdigit() else -1)

    def still_differs(smaller: Program) -> bool:
        again = compare(tinygrad_llm, smaller)
        if again is None or (again.kind, again.where) != (found.kind, found.where):
            return False
        return found.kind != "error" or again.message.split(" at ")[0] == found.message.split(" at ")[0]

    return shrink(watched, still_differs)


def _of(tally: Tally, kind: str) -> int:
    return sum(found.kind == kind for _, found in tally.explained)


def summary(tally: Tally) -> str:
    """一行数字。"""
    return (
        f"{tally.programs:,} programs, {tally.steps:,} steps of {len(tally.targets)} kinds, "
        f"{tally.gradients:,} gradients, {tally.kinds['second']:,} of second order, "
        f"{tally.refused:,} refused by torch: {len(tally.unexplained)} unexplained, "
        f"{_of(tally, 'rounding')} explained by rounding, {_of(tally, 'saved')} by what is saved, "
        f"{_of(tally, 'zero')} by the sign of zero, {_of(tally, 'nan')} by torch's NaN, "
        f"{_of(tally, 'unread')} by a grad_fn that torch had not renewed, {tally.elapsed_s:.0f} s"
    )


def ledger(tally: Tally) -> str:
    """写进 ``ledger.md`` 的一页。"""
    return "\n".join([*_ledger_lines(tally), ""])


def _ledger_lines(tally: Tally) -> Iterator[str]:
    yield "# 随机程序：账本"
    yield ""
    yield f"`python -m parity_tests programs --seed {tally.seed} --count {tally.programs} --write` 生成，不要手改。"
    yield f"torch {torch.__version__.split('+')[0]}，NumPy {np.__version__}。"
    yield ""
    yield f"**{tally.programs:,} 个程序，解释不了的不同 {len(tally.unexplained)} 个。**"
    yield ""
    yield "| 项目 | 数 |"
    yield "| :--- | ---: |"
    yield f"| 步 | {tally.steps:,} |"
    yield f"| 不同的算子 | {len(tally.targets)} |"
    yield f"| 比对的梯度 | {tally.gradients:,} |"
    names = {"loss": "一次反传", "outputs": "几个输出一起反传", "twice": "反传两次", "second": "二阶导"}
    for kind, name in names.items():
        yield f"| {name} | {tally.kinds[kind]:,} |"
    yield f"| torch 拒绝其中一步 | {tally.refused:,} |"
    yield f"| 由舍入解释的不同 | {_of(tally, 'rounding')} |"
    yield f"| 就地改写了一边要留、另一边不留的数 | {_of(tally, 'saved')} |"
    yield f"| torch 的旧视图还不知道自己上了图 | {_of(tally, 'unread')} |"
    yield f"| 0 的符号 | {_of(tally, 'zero')} |"
    yield f"| 二阶导在 torch 里是 NaN | {_of(tally, 'nan')} |"
    yield f"| 解释不了的不同 | {len(tally.unexplained)} |"
    yield ""
    yield "留的不同：两边各留下输入或输出，改写了它，一边拒绝反传，一边照算；拒绝的一边总是安全的。"
    yield "由舍入解释：叶子或途中的一步挪动一个 ulp，torch 自己的结果就散开这么多。"
    yield "0 的符号：两边都把 -0 换成 +0 之后再没有不同。二阶导是 NaN：`sinc`、`norm` 在 0 处，torch 写不出二阶导。"
    yield ""
    yield "| 程序 | 变量 | 种类 |"
    yield "| ---: | :--- | :--- |"
    for index, found in sorted([*tally.explained, *tally.unexplained], key=lambda pair: pair[0]):
        yield f"| {index} | `{found.where}` | {found.kind} |"
