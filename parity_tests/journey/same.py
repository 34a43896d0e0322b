"""两次全程是不是逐位相同：``python -m parity_tests.journey.same runs/one runs/two``。

流入：两个走完的全程；流出：比过多少个数，哪些不同。比的是每次运行日志里的每一个数、每个检查点的权重、每站的结果与成绩单；
时间、速度、内存与路径不比。
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TIMES = {"elapsed_s", "eval_s", "tokens_per_s", "mfu", "memory_bytes", "seconds", "答完用时"}
PATHS = {"run", "folder", "source", "first", "second", "settings", "digest"}
LISTED = ("journey.json", "card.json", "answers-*.json", "texts-*.json", "grpo/*.json", "redteam/*.json")


def numbers(folder: Path) -> dict[str, Any]:
    """一次全程的每一个数：位置到值。"""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*/metrics.jsonl")):
        for i, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            found |= dict(leaves(json.loads(line), f"{path.parent.name}/metrics.jsonl:{i + 1}"))
    for pattern in LISTED:
        for path in sorted(folder.glob(pattern)):
            found |= dict(leaves(json.loads(path.read_bytes()), str(path.relative_to(folder))))
    for path in sorted(folder.glob("*/checkpoints/*/model.safetensors")):
        found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def leaves(record: Any, where: str) -> Iterator[tuple[str, Any]]:
    """JSON 的各片叶子；时间与路径除外。数写成十六进制，逐位地比。"""
    if isinstance(record, dict):
        for name, value in record.items():
            if name not in TIMES | PATHS:
                yield from leaves(value, f"{where} {name}")
    elif isinstance(record, list):
        for i, value in enumerate(record):
            yield from leaves(value, f"{where}[{i}]")
    else:
        yield where, record.hex() if isinstance(record, float) else record


def differences(first: Path, second: Path) -> tuple[int, list[str]]:
    """比了几个数，不同的（或只有一边有的）各一句。"""
    ours, theirs = numbers(first), numbers(second)
    places = sorted(ours.keys() | theirs.keys())
    wrong = [where for where in places if where not in ours or where not in theirs or ours[where] != theirs[where]]
    return len(places), [f"{where}: {ours.get(where)} and {theirs.get(where)}" for where in wrong]


def main(first: str, second: str) -> int:
    """印出结果；有不同的以 1 结束。"""
    count, wrong = differences(Path(first), Path(second))
    print(*wrong[:20], sep="\n")
    print(f"{count:,} figures and weights compared, {len(wrong):,} differ")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
