"""``python -m parity_tests ledger``：量，打印，写文件；有一格不合格就以 1 退出。

流入：命令行；流出：终端的表与所要的文件。``--device`` 走 ``device.py``。
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_llm.common.errors import UserError

if TYPE_CHECKING:
    from parity_tests.ledger.report import Ledger


@dataclass(frozen=True)
class Config:
    """总账的设定。"""

    full: bool = False
    """500 examples of each kind per op instead of 50"""
    ops: tuple[str, ...] = ()
    """only these ops; default: all of them"""
    seed: int = 0
    """the same seed gives the same ledger"""
    random: bool = False
    """explore with a fresh seed, which is printed"""
    jobs: int = 0
    """processes; 0: one per core, at most 8"""
    html: Path | None = None
    """write a page: sortable heat map, one file, no network"""
    json: Path | None = None
    """write every cell: errors, worst inputs, scripts"""
    badge: Path | None = None
    """write an SVG badge"""
    write: bool = False
    """write parity_tests/ledger/ledger.md (all ops only)"""
    device: str = ""
    """cpu, mps or cuda: torch on that device against torch on the CPU and our engine, then a GPT layer by layer"""

    def __post_init__(self) -> None:
        problems = []
        if self.jobs < 0:
            problems.append("--jobs must be >= 0")
        if not 0 <= self.seed < 2**32:
            problems.append("--seed must be in 0 .. 4294967295")
        if self.write and (self.ops or self.device):
            problems.append("--write needs every op: drop --ops and --device")
        files = [path for path in (self.html, self.json, self.badge) if path is not None]
        problems += [f"{path.parent} is not a folder" for path in files if not path.parent.is_dir()]
        if problems:
            raise UserError("; ".join(problems), fix='see "python -m parity_tests ledger --help"')


def main(config: Config) -> None:
    """出一份总账。

    Args:
        config: 命令行的设定。

    Raises:
        SystemExit: 有一格不合格（退出码 1）。
    """
    from parity_tests.engine.op_table import TABLE
    from parity_tests.ledger import report
    from parity_tests.ledger.survey import survey_all

    ops = _chosen(config.ops, sorted(TABLE))
    seed = secrets.randbits(32) if config.random else config.seed
    examples = report.FULL if config.full else report.QUICK
    if config.device:
        from parity_tests.ledger import device

        raise SystemExit(device.main(config.device, ops, examples, seed))
    jobs = config.jobs or min(8, os.cpu_count() or 1, len(ops))
    started_at = time.perf_counter()
    cells = survey_all(ops, examples, seed, jobs, _progress)
    ledger = report.Ledger(cells, seed, examples, time.perf_counter() - started_at)
    _clear()
    print(report.table(ledger), "", *report.summary(ledger), sep="\n")
    _write(config, ledger)
    if ledger.failures:
        print("", report.failures_text(ledger), sep="\n")
        raise SystemExit(1)


def _chosen(names: tuple[str, ...], known: list[str]) -> list[str]:
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=3)
            raise UserError(
                f'no op is called "{name[:60]}"', fix=f"try {' or '.join(near)}" if near else "drop --ops for all"
            )
    return sorted(set(names)) or known


def _write(config: Config, ledger: Ledger) -> None:
    from parity_tests.ledger import page, report

    if config.html is not None:
        config.html.write_text(page.html(ledger), encoding="utf-8")
    if config.json is not None:
        config.json.write_text(json.dumps(report.as_json(ledger), allow_nan=False), encoding="utf-8")
    if config.badge is not None:
        config.badge.write_text(report.badge(ledger), encoding="utf-8")
    if config.write:
        report.PATH.write_text(report.markdown(ledger), encoding="utf-8")
        report.PATH.with_name("badge.svg").write_text(report.badge(ledger), encoding="utf-8")


def _progress(text: str) -> None:
    """进度写在 stderr 的同一行上；不是终端就不写。"""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
