"""依次走各站：每一站由几条普通的命令组成，结果与基线比，记进 ``journey.json``；做完的不重做。

流入：各站（名字、做什么）；流出：``journey.json`` 与 ``logs/``。一站里的命令就是用户自己也能敲的那些，日志里写着它们。
下一个文件：``stages_model.py``。
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinygrad_llm.common.environment import OFFLINE
from tinygrad_llm.common.errors import InterruptedRunError, UserError
from tinygrad_llm.common.journey.settings import JourneyConfig
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.study.cells import save_json

__all__ = [
    "Bars", "Check", "Curve", "Found", "Stage", "Trip", "above", "at_least", "at_most", "below", "search_path",
    "travel",
]  # fmt: skip

RECORD = "journey.json"
TAIL_CHARS = 1500


@dataclass(frozen=True)
class Check:
    """一条基线。

    Attributes:
        name: 比的是什么。
        value: 得到的值。
        bound: 要超过（或不超过）的值。
        is_met: 达到没有。
        detail: 题数、区间、怎样算的。
    """

    name: str
    value: float
    bound: float
    is_met: bool
    detail: str = ""


def above(name: str, value: float, bound: float, detail: str = "") -> Check:
    """要比界限大。"""
    return Check(name, value, bound, value > bound, detail)


def below(name: str, value: float, bound: float, detail: str = "") -> Check:
    """要比界限小。"""
    return Check(name, value, bound, value < bound, detail)


def at_least(name: str, value: float, bound: float, detail: str = "") -> Check:
    """不小于界限。"""
    return Check(name, value, bound, value >= bound, detail)


def at_most(name: str, value: float, bound: float, detail: str = "") -> Check:
    """不大于界限。"""
    return Check(name, value, bound, value <= bound, detail)


@dataclass(frozen=True)
class Curve:
    """一张折线图：一次运行的日志里的几项。

    Attributes:
        run: 运行。
        names: 日志里的名字，一项一条线。
        bound: 另画一条横线，如基线；``None`` 不画。
    """

    run: str
    names: tuple[str, ...]
    bound: float | None = None


@dataclass(frozen=True)
class Bars:
    """一张区间图：几个比例或数，各带区间。

    Attributes:
        title: 图题。
        rows: 名字、值、区间的两端。
        mark: 另画的竖线，如界限或靠猜的成绩；``None`` 不画。
    """

    title: str
    rows: tuple[tuple[str, float, float, float], ...]
    mark: float | None = None


@dataclass(frozen=True)
class Found:
    """一站的结果。

    Attributes:
        checks: 与基线的比较。
        figures: 别的数字，名目到写好的文字。
        texts: 给人看的文字，名目到正文。
        curves: 要画的曲线。
        bars: 要画的区间图。
        links: 这一站写下的页面，相对于全程的文件夹。
    """

    checks: tuple[Check, ...] = ()
    figures: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()
    bars: tuple[Bars, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """一站。

    Attributes:
        name: 名字，也是 ``--until`` 认得的。
        title: 给人看的标题。
        note: 一句话：这一站做什么，拿什么当基线。
        work: 做这一站。
    """

    name: str
    title: str
    note: str
    work: Callable[[Trip], Found]


class Trip:
    """一次全程：文件夹、命令与种子。

    Args:
        config: 设置。

    Attributes:
        config: 同参数。
        folder: 放结果的文件夹。
        scale: 各站的大小。
    """

    def __init__(self, config: JourneyConfig) -> None:
        self.config, self.folder, self.scale = config, config.folder.absolute(), config.scale
        self.stage = ""

    def call(self, *words: object, package: str = "", check: bool = True) -> str:
        """敲一条命令，返回它印出来的字；在全程的文件夹里运行，不许联网。

        Args:
            *words: 动词与 flag。
            package: 由哪个包来做；缺省是引擎的那个。
            check: 命令没有做完就报错。

        Raises:
            UserError: 命令没有做完；说出日志在哪里。
            InterruptedRunError: 被 Ctrl-C 打断。
        """
        command = ["python", "-m", package or self.scale.package, *map(str, words)]
        log = self.folder / "logs" / f"{self.stage}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as file:
            file.write(f"$ {' '.join(command)}\n".encode())
            file.flush()
            at = file.tell()
            environment = {**os.environ, OFFLINE: "1", "PYTHONPATH": search_path()}
            try:
                ended = subprocess.run(
                    [sys.executable, *command[1:]], cwd=self.folder, stdout=file, stderr=subprocess.STDOUT,
                    env=environment, stdin=subprocess.DEVNULL,
                )  # fmt: skip
            except KeyboardInterrupt:
                raise InterruptedRunError(
                    f"stopped during {self.stage}", where=str(self.folder), fix="run the same command again to go on"
                ) from None
        printed = log.read_bytes()[at:].decode("utf-8", "replace")
        if ended.returncode and check:
            last = "\n".join(printed[-TAIL_CHARS:].strip().splitlines()[-3:])
            raise UserError(f"{' '.join(command[2:6])} ... failed: {last}", where=str(log), fix="see the log")
        return printed

    def train(self, verb: str, run: str, *words: object, seed: int = 0) -> None:
        """一次训练；停下过就接着走，做完了就跳过。"""
        state = self.folder / run / "config.toml"
        if (self.folder / run / "report.html").is_file():
            return
        common = ["--run", run, "--runs-dir", ".", *words, "--seed", self.config.seed + seed]
        self.call(verb, *common, *self.workers, *(["--resume"] if state.is_file() else []))

    @property
    def workers(self) -> list[object]:
        """``--workers`` 的 flag。"""
        return [] if self.config.workers is None else ["--workers", self.config.workers]

    def metrics(self, run: str) -> list[dict[str, Any]]:
        """一次运行的日志。"""
        return [dict(record) for record in read_metrics(self.folder / run)]

    def read(self, path: str) -> Any:
        """一个 JSON 文件。"""
        return json.loads((self.folder / path).read_bytes())

    def lines(self, path: str) -> Iterator[Any]:
        """一个 JSON lines 文件的各行。"""
        for line in (self.folder / path).read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def travel(config: JourneyConfig, stages: Sequence[Stage]) -> dict[str, Any]:
    """走各站。

    Args:
        config: 设置。
        stages: 各站，按次序。

    Returns:
        ``journey.json`` 的内容。

    Raises:
        UserError: 没有 ``--until`` 说的那一站，文件夹里是另一种设置的结果，或某一站没有做完。
    """
    names = [stage.name for stage in stages]
    if config.until and config.until not in names:
        raise UserError(f"there is no stage {config.until!r}", where="--until", fix=f"use one of: {', '.join(names)}")
    trip = Trip(config)
    trip.folder.mkdir(parents=True, exist_ok=True)
    record = _opened(trip.folder / RECORD, config)
    print(f"{len(stages)} stages in {config.folder}; logs and commands in {config.folder}/logs", flush=True)
    for i, stage in enumerate(stages, 1):
        head = f"[{i:2d}/{len(stages)}] {stage.name}"
        if stage.name not in record["stages"]:
            print(f"{head} ...", end="\r" if sys.stdout.isatty() else "\n", flush=True)
            record["stages"][stage.name] = _walked(trip, stage)
            save_json(trip.folder / RECORD, record)
        print(_line(head, record["stages"][stage.name]), flush=True)
        if stage.name == config.until:
            break
    record["losses_sha256"] = _losses_digest(trip.folder)
    save_json(trip.folder / RECORD, record)
    return record


def _opened(path: Path, config: JourneyConfig) -> dict[str, Any]:
    """以前走到哪里。"""
    settings = {"engine": config.engine, "seed": config.seed}
    if not path.is_file():
        return {"settings": settings, "stages": {}}
    found: dict[str, Any] = json.loads(path.read_bytes())
    if found["settings"] != settings:
        raise UserError(
            f"this folder holds a journey with other settings ({found['settings']})",
            where=str(path.parent),
            fix="choose another --run NAME, or remove the folder",
        )
    return found


def _walked(trip: Trip, stage: Stage) -> dict[str, Any]:
    trip.stage = stage.name
    began_at = time.monotonic()
    found = stage.work(trip)
    record: dict[str, Any] = json.loads(json.dumps(asdict(found), ensure_ascii=False))  # 与读回来的一样
    return {"elapsed_s": time.monotonic() - began_at, **record}


def _line(head: str, found: dict[str, Any]) -> str:
    """一站的一行：用时，与每条基线达到没有。"""
    said = [
        f"{'ok' if one['is_met'] else 'MISSED'} {one['name']} {one['value']:.4g} (bound {one['bound']:.4g})"
        for one in found["checks"]
    ]
    return f"{head:<20} {found['elapsed_s']:6.1f} s  {'; '.join(said)}"


def _losses_digest(folder: Path) -> str:
    """全部运行的每一步损失的摘要：走两遍应当逐位相同。"""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*/metrics.jsonl")):
        digest.update(path.parent.name.encode())
        for record in read_metrics(path.parent):
            if "loss" in record:
                digest.update(repr((record["step"], record["loss"])).encode())
    return digest.hexdigest()


def search_path() -> str:
    """``PYTHONPATH``：子进程换了当前目录，仍要找得到这两个包。"""
    root = str(Path(__file__).resolve().parents[3])
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
