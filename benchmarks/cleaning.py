"""清洗的速度与准头：每个阶段每 MB 用多少处理器时间，整条命令每核每秒多少 MB，查重、个人信息与去污染找得有多全。

流入：轮数；流出：一张速度表与一张准头表。语料是 ``python-source``、``python-docs`` 与 ``storyworld``，都不用联网。
量的是进程用去的处理器时间，不是钟上的时间：于是「每核」名副其实，机器忙时也作数。取最快的一轮。
界限：不算近似查重，每核每秒 5 MB。
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.options import Output, too_small
from parity_tests.cleaning.measure import leaks_found, near_duplicates, personal_data
from tinygrad_llm.common.cleaning import CleanConfig, clean, document_stages, run_stages
from tinygrad_llm.common.cleaning.config import PII_KINDS, STAGES, DecontaminateConfig
from tinygrad_llm.common.cleaning.decontaminate import index_items
from tinygrad_llm.common.cleaning.minhash import band_keys
from tinygrad_llm.common.cleaning.pii import scrub
from tinygrad_llm.common.cleaning.words import shingles
from tinygrad_llm.common.corpora import Document, documents

BOUND_MB_PER_S = 5.0
CORPORA = ("python-source", "python-docs", "storyworld")
DOCUMENTS = 8000
TEST_ITEMS = 1000


@dataclass(frozen=True)
class CleaningOptions(Output):
    """清洗的速度与准头。"""

    rounds: int | None = None
    """每种量几轮，取最快的一轮；缺省 5，``--quick`` 时 2。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        return [*super().problems(), *too_small(self, {"rounds": 1})]


def fastest_s(work: Callable[[], Any], rounds: int) -> float:
    """最快的一轮用去多少处理器时间，秒。"""
    found = []
    for _ in range(rounds):
        started_at = time.process_time()
        work()
        found.append(time.process_time() - started_at)
    return min(found)


def measure_speed(name: str, rounds: int) -> dict[str, float]:
    """一份语料上，每个阶段、全部阶段与整条命令每 MB 用多少毫秒。

    Args:
        name: 语料名。
        rounds: 几轮。

    Returns:
        名目到毫秒每 MB；另有 ``MB``（语料多大）与 ``MB/s``（整条命令，不算近似查重）。
    """
    texts = list(islice(documents(name), DOCUMENTS))
    size = sum(len(one.text.encode("utf-8", "replace")) for one in texts) / 1e6
    rng = random.Random(0)
    items = (" ".join(f"w{rng.randrange(9999)}" for _ in range(rng.randint(8, 40))) for _ in range(TEST_ITEMS))
    stages = document_stages(CleanConfig(), index_items(items, DecontaminateConfig()))

    def per_mb(work: Callable[[], Any]) -> float:
        return 1e3 * fastest_s(work, rounds) / size

    found = {one.name: per_mb(lambda one=one: list(run_stages([one], texts, {}))) for one in stages}  # type: ignore[misc]
    found["all of these"] = per_mb(lambda: list(run_stages(stages, texts, {})))
    found["near: keys"] = per_mb(lambda: keys(texts))
    command = per_mb(lambda: whole(texts))
    return {**found, "whole command": command, "MB": size, "MB/s": 1e3 / command}


def keys(texts: list[Document]) -> None:
    """算出每份文档的 MinHash 键。"""
    near = CleanConfig().near
    for one in texts:
        if (grams := shingles(one.text, near.shingle)).size:
            band_keys(grams, near)


def whole(texts: list[Document]) -> None:
    """整条命令：各阶段、统计、精确查重、压缩、写盘与清单；不算近似查重与报告的画图。"""
    config = replace(CleanConfig(), stages=tuple(name for name in STAGES if name != "near"))
    with tempfile.TemporaryDirectory() as scratch:
        clean(iter(texts), Path(scratch) / "out", config)


def measure_accuracy() -> dict[str, str]:
    """查重、个人信息、去污染与误伤。"""
    recall, precision = near_duplicates(1000)
    found = {"near duplicates at 0.80-0.84": f"recall {recall:.2%}, precision {precision:.2%}, 1000 pairs"}
    for kind in PII_KINDS:
        found[f"planted {kind}"] = f"{personal_data(kind, 2000):.2%} of 2000 found"
    hits, wrong = leaks_found(1000)
    found["planted test items"] = f"{hits:.2%} of 1000 found, {wrong:.2%} of clean documents removed"
    for name in CORPORA[:2]:
        counts: Counter[str] = Counter()
        size = 0
        for one in documents(name):
            counts += scrub(one.text, PII_KINDS)[1]
            size += len(one.text)
        shown = ", ".join(f"{kind} {count}" for kind, count in counts.most_common()) or "none"
        found[f"personal data in {name}"] = f"{shown} in {size / 1e6:.1f} million characters"
    return found


def measure(options: CleaningOptions) -> dict[str, Any]:
    """速度与准头。"""
    rounds = options.rounds or (2 if options.quick else 5)
    speeds = {}
    for name in CORPORA:
        report.tell(f"cleaning {name}")
        speeds[name] = measure_speed(name, rounds)
    report.tell("planting duplicates, personal data and test items")
    return {"speed": speeds, "accuracy": measure_accuracy(), "bound_mb_per_s": BOUND_MB_PER_S}


def text(result: dict[str, Any]) -> str:
    """两张表。"""
    speeds = result["speed"]
    names = [name for name in next(iter(speeds.values())) if name not in ("MB", "MB/s")]
    rows = [[name, *(f"{speeds[one][name]:.1f}" for one in speeds)] for name in names]
    rows.append(["MB/s per core", *(f"{speeds[one]['MB/s']:.1f}" for one in speeds)])
    rows.append(["corpus, MB", *(f"{speeds[one]['MB']:.1f}" for one in speeds)])
    head = report.table(["CPU ms per MB", *speeds], rows)
    note = f"the whole command leaves out near-dup; bound: {result['bound_mb_per_s']:.0f} MB/s per core"
    return f"{head}\n{note}\n\n" + report.table(
        ["accuracy", "found"], [list(pair) for pair in result["accuracy"].items()]
    )


def main(options: CleaningOptions) -> None:
    """``python -m benchmarks cleaning``。"""
    result = measure(options)
    print(text(result))
    report.publish(report.document("cleaning", options, result), options)
