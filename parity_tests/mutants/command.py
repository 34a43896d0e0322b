"""``python -m parity_tests mutants``：放进错误的导数，数一数测试认出了几个。

流入：命令行；流出：进度、没有认出来的与总数；``--write`` 另写 ``ledger.md``。
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Iterable

from parity_tests import conftest  # noqa: F401  quick 档：例子与 make test 的相同
from parity_tests.mutants import ledger
from parity_tests.mutants.equivalent import EQUIVALENT
from parity_tests.mutants.mutations import Mutation
from parity_tests.mutants.runner import MOST_OWNERS, Mutant, Outcome, run
from parity_tests.mutants.sampling import everything, sample
from tinygrad_llm.common.errors import UserError


@dataclasses.dataclass(frozen=True)
class Config:
    """跑一遍的设定。"""

    ops: tuple[str, ...] = ()
    """only these ops, optimizers or families (ops, optim, traversal)"""
    count: int = 600
    """how many mutants; 0 for all of them (some ten minutes)"""
    seed: int = 0
    """which mutants are drawn"""
    jobs: int = 2
    """how many run at a time"""
    limit_s: float = 30.0
    """CPU seconds one mutant may take"""
    write: bool = False
    """write the ledger next to the code"""
    verbose: bool = False
    """print a line for every mutant, not only for the survivors"""


def main(config: Config) -> None:
    """跑一遍。

    Raises:
        UserError: 系统没有 ``fork``，名字没有对上，有该认出而没有认出的，或等价表写错了。
    """
    if not hasattr(os, "fork"):
        raise UserError("mutants need os.fork, which this system lacks", fix="run it on Linux or macOS")
    chosen = sample(everything(config.ops), config.count, config.seed)
    if not chosen:
        raise UserError(f"no mutants in {' '.join(config.ops)}", fix="use an op's name such as mul, or AdamW, or optim")
    started_at = time.perf_counter()
    _refuse_broken_checks(chosen, config)
    outcomes = []
    for outcome in run(chosen, jobs=config.jobs, limit_s=config.limit_s):
        outcomes.append(outcome)
        _tell(outcome, len(outcomes), len(chosen), config.verbose)
    outcomes.sort(key=lambda o: o.mutant.name)
    print(ledger.summary(outcomes), f"in {time.perf_counter() - started_at:.0f} s (seed {config.seed})")
    if config.write:
        ledger.PATH.write_text(ledger.text(outcomes, _drawn(config)), encoding="utf-8")
    _demand(outcomes)


def _refuse_broken_checks(chosen: Iterable[Mutant], config: Config) -> None:
    """没有改动的引擎先过一遍同样的快测：自己就通不过的测试会把每个变异体都「认出来」。"""
    one_each = {owner: m for m in chosen for owner in m.target.owners[:MOST_OWNERS]}
    unchanged = [m._replace(mutation=Mutation("none", owner, "", m.target.node)) for owner, m in one_each.items()]
    for outcome in run(unchanged, jobs=config.jobs, limit_s=config.limit_s, owners=lambda m: [m.mutation.before]):
        if outcome.verdict != "survived":
            raise UserError(
                f"the unchanged engine fails a check of {outcome.mutant.mutation.before}: {outcome.check}",
                fix="run make test first; a test that always fails notices every mutant",
            )


def _drawn(config: Config) -> str:
    """全部，或凭种子抽出来的几个。"""
    return f"--count {config.count} --seed {config.seed}" if config.count else "--count 0"


def _tell(outcome: Outcome, done: int, total: int, verbose: bool) -> None:
    name = outcome.mutant.name
    if outcome.verdict == "survived" and name not in EQUIVALENT:
        print(f"[{done}/{total}] SURVIVED {name}")
    elif verbose:
        print(f"[{done}/{total}] {outcome.verdict} {name}: {outcome.check} {outcome.message}")
    elif sys.stderr.isatty():
        print(f"\r{done}/{total}", end="", file=sys.stderr)
    sys.stdout.flush()


def _demand(outcomes: Iterable[Outcome]) -> None:
    wrong = [o.mutant.name for o in outcomes if o.verdict == "killed" and o.mutant.name in EQUIVALENT]
    if wrong:
        raise UserError(f"the table of equivalent mutants is wrong about {'; '.join(wrong)}", fix="remove that row")
    alive = ledger.survivors(outcomes)
    if alive:
        raise UserError(
            f"{len(alive)} mutants survived, the first is {alive[0].mutant.name}",
            fix="add a case that tells it from the engine, or explain it in parity_tests/mutants/equivalent.py",
        )
