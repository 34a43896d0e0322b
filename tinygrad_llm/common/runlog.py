"""运行文件夹：``runs/NAME/{config.toml, metrics.jsonl, samples.txt, report.html, checkpoints/, latest}``。

流入：训练循环每一步的数字与样本；流出：逐行追加的 ``metrics.jsonl`` 与 ``samples.txt``，续训后与从未中断的一样。
下一个文件：``report.py`` 把它们画成一页；``checkpoints/`` 与 ``latest`` 归 ``checkpoint.py`` 管。
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .errors import DataError, OutOfDiskError, UserError
from .files import write_atomically
from .scalars import Scalars

__all__ = ["CONFIG", "METRICS", "SAMPLES", "SESSIONS", "RunLog", "read_metrics", "read_samples", "read_sessions"]

Number = float | int | bool | np.number[Any] | np.bool_

CONFIG, METRICS, SAMPLES, SESSIONS = "config.toml", "metrics.jsonl", "samples.txt", "sessions.jsonl"
TRACES_OF_A_RUN = (CONFIG, METRICS, SAMPLES, "checkpoints", "latest")
SAMPLE_HEADER = re.compile(r"=== step (-?\d+) ===")
SAMPLE_INDENT = "  "  # 正文每行缩进两格：生成的文字里即使有一行像标题，也不会被当成标题
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}  # JSON 没有这三个数的写法


class RunLog:
    """一次训练的日志；可以当作上下文管理器，离开时关闭文件。

    Attributes:
        folder: 运行文件夹。
    """

    def __init__(self, folder: Path, *, resume_step: int | None = None, tensorboard: bool = False) -> None:
        """打开日志。

        Args:
            folder: 运行文件夹；不存在则创建。
            resume_step: 续训从哪一步起；步数不小于它的旧记录先删去。``None`` 表示新的一次训练。
            tensorboard: 数字是否另写一份 TensorBoard 的事件文件。

        Raises:
            UserError: 文件夹里已有一次训练而不是续训，或要续训而那里没有训练。
            DataError: 旧日志坏了（末尾的半行除外，它会被删去）。
            OutOfDiskError: 写不进去。
        """
        self.folder = folder
        # 空文件不算：刚打开日志、还没写下配置就被杀，留下的就是它们
        held = [name for name in TRACES_OF_A_RUN if (path := folder / name).exists() and path.stat().st_size]
        if resume_step is None and held:
            raise UserError(
                "this folder already holds a run",
                where=str(folder),
                fix="continue it with --resume, or give the new run another --run NAME",
            )
        if resume_step is not None and not held:
            raise UserError("there is no run to resume", where=str(folder), fix="check --run, or drop --resume")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if resume_step is not None:
                _forget_from(folder / METRICS, resume_step, _metric_records)
                _forget_from(folder / SAMPLES, resume_step, _sample_records)
            self._open()
            self._scalars = Scalars(folder, resume_step) if tensorboard else None
            self._unwritten: dict[Any, bytes] = {}  # 文件 → 盘满时没写进去的部分，下一次先补上
        except OSError as error:
            raise _out_of_disk(folder, error) from error

    def _open(self) -> None:
        # 不带缓冲：一条记录一次写入，kill -9 之后至多缺最后半条
        self._metrics = (self.folder / METRICS).open("ab", buffering=0)
        self._samples = (self.folder / SAMPLES).open("ab", buffering=0)

    def rewind(self, step: int) -> None:
        """训练退回第 ``step`` 步：步数不小于它的记录都删去。

        Args:
            step: 接下来要重走的一步。

        Raises:
            OutOfDiskError: 改写不了；旧的记录还在，可以接着写。
        """
        self.sync()
        self._close()
        try:
            _forget_from(self.folder / METRICS, step, _metric_records)
            _forget_from(self.folder / SAMPLES, step, _sample_records)
        except OSError as error:
            raise _out_of_disk(self.folder, error) from error
        finally:
            self._open()
        if self._scalars is not None:
            self._scalars.purge(step)

    def metric(self, step: int, **values: Number | str | None) -> None:
        """追加一行数字。

        Args:
            step: 第几步。
            **values: 名字到数值；浮点数逐比特可读回，NumPy 标量也可以。

        Raises:
            TypeError: 值不是数、字符串、布尔或 ``None``。
            OutOfDiskError: 写不进去；这一条记在内存里，下一次追加或落盘时再写。
        """
        record = {"step": step, **{name: _plain(value) for name, value in values.items()}}
        if self._scalars is not None:
            with contextlib.suppress(OSError):  # 曲线少一点也无妨，日志里有
                self._scalars.add(step, {name: NON_FINITE.get(str(value), value) for name, value in record.items()})
        self._append(self._metrics, json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n")

    def session(self, **values: Any) -> None:
        """追加一行：这一回在哪里、用什么跑。

        Args:
            **values: 写得成 JSON 的值。

        Raises:
            OutOfDiskError: 写不进去。
        """
        path = self.folder / SESSIONS
        try:
            with path.open("ab", buffering=0) as file:
                file.write((json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise _out_of_disk(path, error) from error

    def sample(self, step: int, text: str) -> None:
        """追加一段生成的文字。

        Args:
            step: 第几步。
            text: 任意文字，可以有换行。

        Raises:
            OutOfDiskError: 写不进去；同 ``metric``。
        """
        body = "\n".join(SAMPLE_INDENT + line for line in text.split("\n"))
        self._append(self._samples, f"=== step {step} ===\n{body}\n")

    def config(self, text: str) -> None:
        """写下这次训练的完整配置。

        Args:
            text: TOML 文本，见 ``toml.dump_toml``。

        Raises:
            OutOfDiskError: 写不进去。
        """
        try:
            write_atomically(self.folder / CONFIG, text.encode("utf-8"))
        except OSError as error:
            raise _out_of_disk(self.folder / CONFIG, error) from error

    def sync(self) -> None:
        """把日志落盘；在保存检查点之前调用，断电后日志才不会短于检查点。

        Raises:
            OutOfDiskError: 写不进去。
        """
        for file in (self._metrics, self._samples):
            self._append(file, "")
            try:
                os.fsync(file.fileno())
            except OSError as error:
                raise _out_of_disk(Path(file.name), error) from error

    def close(self) -> None:
        """关闭文件。"""
        if self._scalars is not None:
            with contextlib.suppress(OSError):
                self._scalars.close()
        self._close()

    def _close(self) -> None:
        self._metrics.close()
        self._samples.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, file: Any, text: str) -> None:
        # 生成的文字可能含孤立的代理项
        data = self._unwritten.pop(file, b"") + text.encode("utf-8", "backslashreplace")
        try:
            data = data[file.write(data) :]
            if data:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._unwritten[file] = data
            raise _out_of_disk(Path(file.name), error) from error


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """读出一个运行文件夹的全部数字。

    Args:
        folder: 运行文件夹。

    Returns:
        每行一个字典，次序与写入时相同；``nan``、``inf`` 已变回浮点数；末尾的半行略去。

    Raises:
        DataError: 文件缺失、读不了，或中间有坏行；消息里有行号。
    """
    path = folder / METRICS
    records = []
    for _, line in _metric_records(path, _read(path)):
        record: dict[str, Any] = json.loads(line)
        records.append({name: NON_FINITE.get(str(value), value) for name, value in record.items()})
    return records


def read_samples(folder: Path) -> list[tuple[int, str]]:
    """读出一个运行文件夹的全部样本。

    Args:
        folder: 运行文件夹。

    Returns:
        ``(步数, 文字)`` 的列表；文件不存在时为空。

    Raises:
        DataError: 文件读不了或内容不合法。
    """
    path = folder / SAMPLES
    if not path.exists():
        return []
    found = []
    for step, record in _sample_records(path, _read(path)):
        body = record.decode("utf-8").split("\n")[1:-1]
        found.append((step, "\n".join(line.removeprefix(SAMPLE_INDENT) for line in body)))
    return found


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """读出一次运行的各回：每次开训或续训一行。

    Args:
        folder: 运行文件夹。

    Returns:
        由早到晚；没有记录、或有读不懂的行，略去。
    """
    found = []
    with contextlib.suppress(OSError):
        for line in (folder / SESSIONS).read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError, RecursionError):
                found.append(json.loads(line))
    return [one for one in found if isinstance(one, dict)]


def _plain(value: Any) -> Any:
    """变成 JSON 写得出、读回来又不变的值。"""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, int | float | str):
        return value
    raise TypeError(f"a metric must be a number, a string or None, not {type(value).__name__}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the run log: {error.strerror}", where=str(path), fix="check the path") from error


def _metric_records(path: Path, data: bytes) -> Iterator[tuple[int, bytes]]:
    """逐条产生 ``(步数, 原样的一行)``；没有换行符的末行是写到一半的，略去。"""
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
            step = record["step"]
        except (ValueError, RecursionError, TypeError, KeyError) as error:
            raise _bad_line(path, number) from error
        if type(step) is not int:
            raise _bad_line(path, number)
        yield step, line + b"\n"


def _sample_records(path: Path, data: bytes) -> Iterator[tuple[int, bytes]]:
    """逐条产生 ``(步数, 标题与正文)``；末尾没有换行符的半行略去。"""
    step, record = -1, b""
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        header = SAMPLE_HEADER.fullmatch(line.decode("utf-8", "replace"))
        if header:
            if record:
                yield step, record
            step, record = int(header[1]), b""
        elif not record or not line.startswith(SAMPLE_INDENT.encode()):
            raise _bad_line(path, number)
        record += line + b"\n"
    if record:
        yield step, record


def _bad_line(path: Path, number: int) -> DataError:
    return DataError("the run log is damaged", where=f"{path}, line {number}", fix="delete that line")


def _forget_from(path: Path, step: int, records: Any) -> None:
    """删去步数不小于 ``step`` 的记录，以及末尾的半条。"""
    if path.exists():
        kept = [record for at, record in records(path, _read(path)) if at < step]
        write_atomically(path, b"".join(kept))


def _out_of_disk(path: Path, error: OSError) -> OutOfDiskError:
    return OutOfDiskError(
        f"cannot write the run log: {error.strerror}", where=str(path), fix="free some space or choose another folder"
    )
