"""跑公开的命令：一个极小的模型、一小段文本，几十毫秒走完一次训练。

流入：引擎名、动词与 flag；流出：退出码与两路输出，或运行文件夹里的数字与张量。多数测试在本进程里调用命令行的入口
（与 ``python -m`` 只差一次启动）；信号与 kill -9 须用真正的进程，见 ``spawn``。
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_llm.__main__ as numpy_program
import torch_llm.__main__ as torch_program
from tinygrad_llm.common import cli
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.runlog import read_metrics

ENGINES = ("numpy", "torch")
"""两个引擎的名字。"""

PROGRAMS = {"numpy": "tinygrad_llm", "torch": "torch_llm"}
VERBS = {"numpy": numpy_program.VERBS, "torch": torch_program.VERBS}
TRAIN = {"numpy": "train", "torch": "pretrain"}
COLUMNS = ("loss", "lr", "grad_norm")
"""日志里只由（设置，步号）决定的几列；其余的是用时与内存。"""

TINY: dict[str, Any] = {
    "preset": "toy", "n_layer": 1, "n_embd": 32, "n_head": 2, "context": 16, "vocab_size": 300, "batch_size": 4,
    "steps": 12, "warmup_steps": 3, "sample_tokens": 8,
}  # fmt: skip
"""极小的模型，十二步。"""

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "dog", "ran", "over", "hill", "while", "sun", "rose", "sky"]
START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Ended:
    """一条结束了的命令。

    Attributes:
        code: 退出码。
        out: 标准输出。
        err: 标准错误。
    """

    code: int
    out: str
    err: str

    @property
    def error(self) -> list[str]:
        """错误消息的各行：从 ``error:`` 起到末尾，不含之前的进度。"""
        lines = self.err.splitlines()
        starts = [i for i, line in enumerate(lines) if line.startswith("error: ")]
        return lines[starts[0] :] if starts else []


class Place:
    """一个测试的工作间：一段文本、一个放运行的文件夹，和在其中跑命令的办法。

    Attributes:
        corpus: 文本文件。
        runs: 放各次运行的文件夹；第一次训练之前不存在。
    """

    def __init__(self, folder: Path, capture: Any) -> None:
        self.corpus, self.runs = folder / "small.txt", folder / "runs"
        self.corpus.write_text(text_of(150), encoding="utf-8")
        self._capture = capture

    def flags(self, run: str, changes: Mapping[str, Any]) -> list[str]:
        """``TINY`` 加上 ``changes`` 的全部 flag；值为 ``None`` 的略去，布尔值写成开关。"""
        settings = {"run": run, "runs_dir": self.runs, "corpus": self.corpus, **TINY, **changes}
        return as_flags(settings)

    def train(self, engine: str, run: str, /, **changes: Any) -> Ended:
        """从头训练；``changes`` 覆盖 ``TINY``。"""
        return self.call(engine, TRAIN[engine], *self.flags(run, changes))

    def resume(self, engine: str, run: str, /, **changes: Any) -> Ended:
        """续训；只给出要改的设置，其余由运行文件夹里的配置补齐。"""
        return self.call(
            engine, TRAIN[engine], *as_flags({"run": run, "runs_dir": self.runs, "resume": True, **changes})
        )

    def generate(self, engine: str, run: str, /, **changes: Any) -> Ended:
        """生成。"""
        return self.call(engine, "generate", *as_flags({"run": run, "runs_dir": self.runs, **changes}))

    def call(self, engine: str, *argv: str) -> Ended:
        """在本进程里跑一条命令。"""
        self._capture.readouterr()
        code = cli.main(f"python -m {PROGRAMS[engine]}", "", VERBS[engine], argv)
        return Ended(code, *self._capture.readouterr())

    def spawn(self, engine: str, *argv: str) -> subprocess.Popen[str]:
        """另起一个进程跑一条命令。"""
        command = [sys.executable, "-m", PROGRAMS[engine], *argv]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")

    def curve(self, run: str, column: str = "loss") -> NDArray[np.float64]:
        """日志里的一列。"""
        return np.array([record[column] for record in read_metrics(self.runs / run) if "loss" in record])

    def columns(self, run: str) -> list[tuple[Any, ...]]:
        """日志里每一步的（步号，损失，学习率，梯度范数）。"""
        records = [record for record in read_metrics(self.runs / run) if "loss" in record]
        return [(record["step"], *(record[name] for name in COLUMNS)) for record in records]

    def tensors(self, run: str) -> dict[str, NDArray[Any]]:
        """最近的检查点里的全部张量：权重，以及 AdamW 的两个矩。"""
        checkpoint = load_checkpoint(self.runs / run)
        return {**checkpoint.model, **checkpoint.optim}

    def assert_resuming_changes_nothing(self, engine: str, stops: Sequence[int], **changes: Any) -> None:
        """``straight`` 一气走完，``broken`` 依次停在 ``stops`` 再续完：日志、权重与两个矩逐位相同。"""
        assert self.train(engine, "straight", **changes).code == 0
        assert self.train(engine, "broken", **changes, stop_at=stops[0]).code == 0
        for stop in stops[1:]:
            assert self.resume(engine, "broken", stop_at=stop).code == 0
        assert self.resume(engine, "broken").code == 0
        assert self.columns("broken") == self.columns("straight")
        assert_bit_equal(self.tensors("broken"), self.tensors("straight"))

    def contents(self) -> dict[str, str]:
        """运行文件夹之下的一切：路径到内容的摘要；文件夹的摘要为空。"""
        if not self.runs.exists():
            return {}
        return {
            path.relative_to(self.runs).as_posix(): (
                hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            )
            for path in self.runs.rglob("*")
        }


def text_of(lines: int, seed: int = 0) -> str:
    """由几个词拼成的文本。"""
    rng = random.Random(seed)
    return "".join(" ".join(rng.choice(WORDS) for _ in range(9)) + ".\n" for _ in range(lines))


def as_flags(settings: Mapping[str, Any]) -> list[str]:
    """设置写成 flag。"""
    return [
        f"--{name.replace('_', '-')}" if value is True else f"--{name.replace('_', '-')}={value}"
        for name, value in settings.items()
        if value is not None and value is not False
    ]


def assert_bit_equal(found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
    """两组张量名字、形状、类型与每一个比特都相同。"""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


def furthest(found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> float:
    """两组张量最大的绝对差。"""
    assert found.keys() == expected.keys()
    return max(float(np.abs(found[name] - expected[name]).max()) for name in expected)


def wait_for_steps(process: subprocess.Popen[str], run: Path, count: int) -> None:
    """等到运行的日志至少有 ``count`` 行，或进程已经结束。"""
    deadline = time.monotonic() + START_TIMEOUT_S
    log = run / "metrics.jsonl"
    while process.poll() is None and (not log.exists() or log.read_bytes().count(b"\n") < count):
        assert time.monotonic() < deadline, "the training did not start"
        time.sleep(0.002)


def finish(process: subprocess.Popen[str]) -> Ended:
    """等一个进程结束。"""
    out, err = process.communicate(timeout=START_TIMEOUT_S)
    return Ended(process.returncode, out, err)


def can_mount() -> bool:
    """本机能否挂载一个小盘。"""
    return sys.platform == "linux" and os.geteuid() == 0
