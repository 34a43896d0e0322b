"""``--dry-run`` 的估计准不准：先估计，再在新的进程里真的训练一遍，比内存峰值与总时间。

流入：几种预设、批、上下文、微批、重算、优化器、精度与类型；流出：每种的「预计 ÷ 实测」。
界限：内存与时间各在 15 % 以内。内存是训练进程与它的工作进程的峰值之和，共享的只算一次。
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import quiet, report
from benchmarks.options import Output, too_small
from benchmarks.processes import ROOT
from tinygrad_llm.common.system import resident_bytes

BOUND = 0.15
INTERVAL_S = 0.02
VERBS = {"torch": ("torch_llm", "pretrain"), "numpy": ("tinygrad_llm", "train")}

GPT_SMALL = "--preset gpt2 --n-layer 4 --context 256 --vocab-size 2048 --batch-size 8"
SCENES: dict[str, str] = {
    "toy": "--preset toy",
    "toy, batch 64": "--preset toy --batch-size 64",
    "toy, context 512": "--preset toy --context 512 --batch-size 8",
    "toy-llama, 4 micro-batches": "--preset toy-llama --batch-size 32 --accumulate 4",
    "toy, muon": "--preset toy --batch-size 32 --optimizer muon",
    "toy, sgd, window": "--preset toy --batch-size 32 --optimizer sgd --window 32",
    "toy, float64": "--preset toy --dtype float64",
    "toy, dropout": "--preset toy --batch-size 32 --dropout 0.1",
    "gpt2, 4 layers": GPT_SMALL,
    "gpt2, 4 layers, 8 micro-batches": f"{GPT_SMALL} --accumulate 8",
    "gpt2, 4 layers, batch 16": f"{GPT_SMALL} --batch-size 16",
}
"""两个引擎都试的。"""
TORCH_SCENES: dict[str, str] = {
    "toy, recompute": "--preset toy --batch-size 64 --recompute",
    "gpt2, 4 layers, recompute": f"{GPT_SMALL} --recompute",
    "gpt2, 4 layers, bfloat16": f"{GPT_SMALL} --precision bfloat16",
    "gpt2, 4 layers, recompute, bfloat16": f"{GPT_SMALL} --recompute --precision bfloat16",
}
"""只有 torch 有的选项。"""
QUICK = ("toy", "toy-llama, 4 micro-batches", "gpt2, 4 layers")


@dataclass(frozen=True)
class EstimatesOptions(Output):
    """估计与实测。"""

    steps: int = 30
    """真的训练多少步。"""
    workers: int = 2
    """几个核。"""
    only: str = ""
    """只量名字里有这几个字的。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        return [*super().problems(), *too_small(self, {"steps": 2, "workers": 1})]


def scenes(options: EstimatesOptions) -> list[tuple[str, str, list[str]]]:
    """要量的：引擎、名字、flag。"""
    found = [(engine, name, flags) for engine in VERBS for name, flags in SCENES.items()]
    found += [("torch", name, flags) for name, flags in TORCH_SCENES.items()]
    shared = ["--steps", str(options.steps), "--warmup-steps", "5", "--workers", str(options.workers)]
    return [
        (engine, name, _last_wins([*flags.split(), *shared]))
        for engine, name, flags in found
        if options.only in f"{engine}: {name}" and (not options.quick or name in QUICK)
    ]


def _last_wins(words: list[str]) -> list[str]:
    """同一个 flag 写了几遍，留最后一遍。"""
    pairs: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            pairs[word] = []
        else:
            pairs[list(pairs)[-1]].append(word)
    return [word for flag, values in pairs.items() for word in (flag, *values)]


def one(engine: str, flags: list[str], folder: Path, corpus: Path) -> dict[str, float]:
    """估计一次、训练一次；各在自己的进程里。"""
    package, verb = VERBS[engine]
    command = [sys.executable, "-m", package, verb, "--corpus", str(corpus), "--runs-dir", str(folder), *flags]
    answer = folder / "estimate.json"
    watched([*command, "--dry-run", "--json", str(answer)])
    found = json.loads(answer.read_bytes())
    answer.unlink()
    if list(folder.iterdir()):
        raise AssertionError("the dry run left files behind")
    elapsed_s, peak = watched(command)
    return {
        "predicted_bytes": found["memory"]["peak_bytes"],
        "measured_bytes": peak,
        "predicted_s": found["time"]["total_s"],
        "measured_s": elapsed_s,
        "memory_ratio": found["memory"]["peak_bytes"] / peak,
        "time_ratio": found["time"]["total_s"] / elapsed_s,
    }


def watched(command: list[str]) -> tuple[float, int]:
    """跑一条命令：秒数，与各进程的内存峰值之和。

    Raises:
        RuntimeError: 命令没有做完。
    """
    started_at = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    silent: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "env": environment}
    peaks: dict[int, tuple[int, int]] = {}
    with subprocess.Popen(command, **silent) as process:
        while process.poll() is None:
            for pid in quiet.family([process.pid]):
                now = resident_bytes(pid, "VmHWM"), resident_bytes(pid, "RssShmem")
                if _is_training(pid, process.pid):
                    peaks[pid] = max(peaks.get(pid, (0, 0)), now)
            time.sleep(INTERVAL_S)
        if process.returncode:
            message = process.stderr.read().decode() if process.stderr else ""
            raise RuntimeError(f"{' '.join(command)} failed: {message[-500:]}")
    shared = [pages for _, pages in peaks.values()]
    total = sum(high for high, _ in peaks.values()) - sum(shared) + max(shared)
    return time.perf_counter() - started_at, total


def _is_training(pid: int, main: int) -> bool:
    """是训练的进程，不是它一时叫来的 git；后者在换上 git 之前还借着父进程的内存与命令行，内存不能再数一遍。"""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"python" in line and (pid == main or line != Path(f"/proc/{main}/cmdline").read_bytes())
    except OSError:
        return False


def measure(options: EstimatesOptions) -> dict[str, dict[str, float]]:
    """各种情形：名字到估计与实测。"""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus.txt"
        corpus.write_text(sample_text(60_000), encoding="utf-8")
        for engine, name, flags in scenes(options):
            report.tell(f"{engine}: {name}")
            with tempfile.TemporaryDirectory() as folder:
                result = one(engine, flags, Path(folder), corpus)
            report.tell(f"  memory {result['memory_ratio']:.2f}, time {result['time_ratio']:.2f}")
            found[f"{engine}: {name}"] = result
    return found


def sample_text(words: int) -> str:
    """由随机的词拼成的文本；词表够大，分词器才学得满。"""
    rng = random.Random(0)
    lexicon = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(3000)]
    return "".join(rng.choice(lexicon) + (".\n" if i % 12 == 11 else " ") for i in range(words))


def text(found: dict[str, dict[str, float]]) -> str:
    """一张表与最坏的一行。"""
    rows = [
        [
            name,
            f"{one['predicted_bytes'] / 2**20:.0f}",
            f"{one['measured_bytes'] / 2**20:.0f}",
            f"{one['memory_ratio']:.2f}",
            f"{one['predicted_s']:.1f}",
            f"{one['measured_s']:.1f}",
            f"{one['time_ratio']:.2f}",
        ]
        for name, one in found.items()
    ]
    lines = [report.table(["run", "MiB predicted", "measured", "ratio", "s predicted", "measured", "ratio"], rows)]
    for kind in ("memory", "time"):
        ratios = [one[f"{kind}_ratio"] for one in found.values()]
        inside = sum(abs(ratio - 1) <= BOUND for ratio in ratios)
        lines.append(
            f"{kind}: {inside} of {len(ratios)} within {BOUND:.0%}; "
            f"ratios {min(ratios):.2f} to {max(ratios):.2f}, median {statistics.median(ratios):.2f}"
        )
    return "\n".join(lines)


def main(options: EstimatesOptions) -> None:
    """``python -m benchmarks estimates``。"""
    found = measure(options)
    print(text(found))
    report.publish(report.document("estimates", options, found), options)
