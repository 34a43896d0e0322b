"""``python -m parity_tests contract``：在用户的机器与设备上核对每一条不变性，印出表来；有一条不成立就以 1 退出。

流入：命令行；流出：终端的表，与所要的文件。怎样核对见 ``runner.py``。
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tinygrad_llm.common.errors import UserError

if TYPE_CHECKING:
    from parity_tests.contract.property import Property
    from parity_tests.contract.runner import TwinVerdict, Verdict

LEDGER = Path(__file__).with_name("ledger.md")


@dataclass(frozen=True)
class Config:
    """核对什么，在哪里核对。"""

    examples: int = 50
    """random GPTs per property and engine"""
    engine: Literal["both", "numpy", "torch"] = "both"
    """which engine"""
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    """device of the torch engine; the NumPy engine stays on the CPU"""
    dtype: Literal["float64", "float32"] = "float64"
    """floating point type; mps knows float32 only"""
    only: tuple[str, ...] = ()
    """only the properties whose names hold one of these words"""
    seed: int = 0
    """the same seed draws the same examples"""
    random: bool = False
    """explore with a fresh seed, which is printed"""
    json: Path | None = None
    """write every verdict to this file"""
    write: bool = False
    """write parity_tests/contract/ledger.md (every property, both engines, on the CPU)"""

    def __post_init__(self) -> None:
        problems = []
        if self.examples < 1:
            problems.append(f"--examples must be at least 1, got {self.examples}")
        if not 0 <= self.seed < 2**32:
            problems.append(f"--seed must be from 0 to {2**32 - 1}, got {self.seed}")
        if self.device == "mps" and self.dtype == "float64":
            problems.append("--device mps has no float64: add --dtype float32")
        if self.write and (self.only or self.engine != "both" or self.device != "cpu" or self.dtype != "float64"):
            problems.append("--write needs every property in float64 on the CPU: drop the other flags")
        if problems:
            raise UserError("; ".join(problems), where="contract settings", fix="correct the flags named above")


@dataclass(frozen=True)
class Row:
    """表的一行。

    Attributes:
        one: 性质。
        engine: 引擎。
        verdict: 它的结论。
        twin: 孪生的结论。
    """

    one: Property
    engine: str
    verdict: Verdict
    twin: TwinVerdict

    @property
    def holds(self) -> bool:
        """性质成立，孪生也抓住了。"""
        return not self.verdict.failure and not self.twin.complaint

    @property
    def cells(self) -> tuple[str, ...]:
        """表里的各格。"""
        worst, other = self.verdict.worst, self.twin
        if worst is None:
            error = "-"
        elif worst.bound == 0:
            error = "bit for bit"
        else:
            error = f"{worst.error:.1e} of {worst.bound:.1e}"
        twin = "NOT CAUGHT" if other.complaint else f"caught in {other.caught} of {other.examples}"
        result = "FAILS" if self.verdict.failure else "holds"
        return (self.one.name, self.engine, str(self.verdict.examples), error, result, twin)


HEAD = ("property", "engine", "examples", "largest error", "result", "broken twin")


def main(config: Config) -> None:
    """核对，打印，写文件。

    Raises:
        SystemExit: 有一条不成立，或有一个孪生没有抓住。
    """
    chosen = _chosen(config)
    seed = secrets.randbelow(2**32) if config.random else config.seed
    engines = ("numpy", "torch") if config.engine == "both" else (config.engine,)
    _check_device(config)
    print(f"{len(chosen)} properties, {config.examples} random GPTs each, {config.dtype}, seed {seed}", flush=True)
    print(_line(HEAD), flush=True)
    rows = []
    for one in chosen:
        for engine in engines:
            rows.append(_row(one, engine, config, seed))
            print(_line(rows[-1].cells), flush=True)
    _explain(rows, config, seed)
    if config.json is not None:
        config.json.parent.mkdir(parents=True, exist_ok=True)
        config.json.write_text(json.dumps([_as_dict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    if config.write:
        LEDGER.write_text(ledger(rows, config.examples, seed), encoding="utf-8")
    if not all(row.holds for row in rows):
        raise SystemExit(1)


def _chosen(config: Config) -> list[Property]:
    from parity_tests.contract.runner import PROPERTIES  # 用到才加载两个引擎，``--help`` 因此立即可答

    names = [one.name for one in PROPERTIES]
    for word in config.only:
        if not any(word in name for name in names):
            near = get_close_matches(word, names, n=1, cutoff=0.3)
            raise UserError(
                f"no property is named like {word!r}",
                fix=f'did you mean "{near[0]}"?' if near else f"use a word of: {', '.join(names)}",
            )
    return [one for one in PROPERTIES if not config.only or any(word in one.name for word in config.only)]


def _check_device(config: Config) -> None:
    import torch

    usable = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not usable[config.device]:
        raise UserError(f"torch has no {config.device} here", where="--device", fix="use --device cpu")
    if config.device == "cuda":  # 逐位相同要求同样的加法次序
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


def _row(one: Property, engine: str, config: Config, seed: int) -> Row:
    from parity_tests.contract.implementation import Implementation
    from parity_tests.contract.runner import catch, prove

    implementation = Implementation(engine, config.device, config.dtype)
    return Row(
        one,
        engine if implementation.device == "cpu" else f"{engine} ({config.device})",
        prove(one, implementation, config.examples, seed),
        catch(one, implementation, config.examples, seed),
    )


def _line(cells: tuple[str, ...]) -> str:
    widths = (36, 14, 9, 23, 7, 0)
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _explain(rows: list[Row], config: Config, seed: int) -> None:
    again = f"python -m parity_tests contract --seed {seed} --examples {config.examples}"
    for row in rows:
        for problem in filter(None, (row.verdict.failure, row.twin.complaint)):
            print(f"\n{row.one.name}, {row.engine}: {row.one.claim}\n  {problem}")
            print(f'  again: {again} --only "{row.one.name}"')
    good = sum(row.holds for row in rows)
    examples = sum(row.verdict.examples for row in rows)
    comparisons = sum(row.verdict.comparisons for row in rows)
    print(
        f"\n{good} of {len(rows)} hold and would be noticed broken: {examples:,} examples, {comparisons:,} comparisons"
    )


def _as_dict(row: Row) -> dict[str, Any]:
    one = row.one
    return {
        "property": one.name,
        "claim": one.claim,
        "mistake": one.mistake,
        "engine": row.engine,
        "holds": row.holds,
        "verdict": asdict(row.verdict),
        "twin": asdict(row.twin),
    }


def ledger(rows: list[Row], examples: int, seed: int) -> str:
    """账本的全文。"""
    lines = [
        "# 不变性：账本",
        "",
        "`python -m parity_tests contract --write` 生成，不要手改。每条性质旁边是一个犯了一处真实的错的孪生实现：",
        "它必须失败，败在该败之处，误差至少是界的一千倍；在那个错恰好不起作用的例子上（例如只有一个微批），它又必须通过。",
        "",
        f"**{sum(row.holds for row in rows)} / {len(rows)} 成立且孪生被抓住；"
        f"{sum(row.verdict.examples for row in rows):,} 个随机的例子，"
        f"{sum(row.verdict.comparisons for row in rows):,} 处比较；float64，每条 {examples} 个例子，种子 {seed}。**",
        "",
        "| 性质 | 引擎 | 例子 | 占界最多的一处：误差 / 界 | 结论 | 孪生错在 | 抓住它的例子，最大的误差 |",
        "| --- | --- | ---: | --- | --- | --- | --- |",
    ]
    for row in rows:
        worst, other = row.verdict.worst, row.twin
        share = "" if worst is None else "逐位相同" if worst.bound == 0 else f"{worst.error:.1e} / {worst.bound:.1e}"
        result = "**不成立**" if row.verdict.failure else "成立"
        caught = f"{other.caught} / {other.examples}，{other.gap.error:.1e}" if other.gap else ""
        twin = "**没有抓住**" if other.complaint else caught
        cells = (row.one.name, row.engine, row.verdict.examples, share, result, row.one.mistake, twin)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, "", "各条性质说的是什么：", "", *_claims(rows)]) + "\n"


def _claims(rows: list[Row]) -> list[str]:
    claims = {row.one.name: row.one.claim for row in rows}
    return [f"- {name}: {claim}" for name, claim in claims.items()]
