"""整条流水线：文档流进来，干净的分片、清单与报告的数据写出去。

流入：文档流与设置；流出：一个完整的输出文件夹。三趟：逐片清洗，全局查重，逐片写出；下一个文件：``command.py``。

一切先写在旁边的 ``OUT.partial`` 里，最后才整个改名为 ``OUT``，所以 ``OUT`` 一出现就是完整的；中断了再运行同样的命令，
做完的分片不再做。内存里至多有几个分片的文字；查重用多少内存见 ``dedup.py``。结果与用几个进程、在哪台机器无关。
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from tinygrad_llm.common.cleaning.config import CleanConfig
from tinygrad_llm.common.cleaning.decontaminate import Leaks, index_items, read_items
from tinygrad_llm.common.cleaning.output import MANIFEST, read_manifest, verify_files, write_manifest
from tinygrad_llm.common.cleaning.passes import remove_duplicates
from tinygrad_llm.common.cleaning.shard import ShardTask, WriteTask, clean_shard, put, shard_digest, write_shard
from tinygrad_llm.common.cleaning.statistics import Statistics
from tinygrad_llm.common.cleaning.tally import Tally
from tinygrad_llm.common.cleaning.workers import run_local
from tinygrad_llm.common.corpora.document import Document
from tinygrad_llm.common.errors import DataError, InterruptedRunError, OutOfDiskError, UserError
from tinygrad_llm.common.signals import GracefulStop
from tinygrad_llm.common.toml import dump_toml

__all__ = ["Result", "Runner", "clean"]

SETTINGS = "settings.toml"
SHOWN_GRAMS = 50


class Runner(Protocol):
    """怎样做一批任务：``workers.py`` 的 ``run_local``，或 ``ray_runner.py`` 的 ``run_ray``。"""

    def __call__(
        self, function: Callable[[Any], Any], tasks: Iterable[Any], workers: int
    ) -> Generator[Any, None, None]:
        """按任务的次序给出结果。"""


@dataclass(frozen=True)
class Result:
    """一次清洗的结果。

    Attributes:
        tallies: 阶段名到账目，按阶段的次序。
        before: 进来的文档。
        after: 留下的文档。
        files: 文件名到大小、摘要与份数。
        is_new: 这次真的做了；否则是上次的结果，原样未动。
    """

    tallies: dict[str, Tally] = field(default_factory=dict)
    before: Statistics = field(default_factory=Statistics)
    after: Statistics = field(default_factory=Statistics)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    is_new: bool = True


def clean(
    documents: Iterable[Document],
    out: Path,
    config: CleanConfig,
    *,
    runner: Runner = run_local,
    workers: int = 1,
    shard_chars: int = 8_000_000,
    is_compressed: bool = True,
    notice: Callable[[str], None] = lambda text: None,
    finish: Callable[[Result, Path], None] = lambda result, folder: None,
) -> Result:
    """清洗一份语料。

    Args:
        documents: 文档流，只读一遍。
        out: 输出文件夹；不能已有别的内容。
        config: 设置。
        runner: 怎样做一批任务。
        workers: 几个进程。
        shard_chars: 一个分片至多多少字符（至少一份文档）。
        is_compressed: 是否写成 ``.jsonl.gz``。
        notice: 收进度的函数，一次一句。
        finish: 改名到位之前再往文件夹里写些什么，如报告。

    Returns:
        结果。

    Raises:
        UserError: ``out`` 里是别的设置或别的输入的结果，或别的东西。
        DataError: 输入坏了，或一份文档也没有留下。
        InterruptedRunError: 收到了 Ctrl-C 或 SIGTERM。
        WorkerError: 有工作进程死了。
        OutOfDiskError: 写不进去。
    """
    leaks = _leaks(config)
    settings = f"{dump_toml(_without_paths(config))}\n# {shard_chars=} {is_compressed=} {_leaks_digest(leaks)}\n"
    shards = _shards(documents, shard_chars)
    if out.exists() and any(_listed(out)):
        return _checked(out, settings, shards)
    shards = _started(shards)  # 先读出一片：输入打不开时，什么也还没有写
    work, inputs = _prepared(out, settings), hashlib.blake2b(digest_size=16)
    result = Result()
    with GracefulStop() as stop:

        def tasks() -> Iterator[ShardTask]:
            for index, shard in enumerate(shards):
                if stop.requested is not None:
                    return
                digest = shard_digest(shard)
                inputs.update(digest.encode())
                yield ShardTask(index, shard, digest, work, config, leaks)

        with closing(runner(clean_shard, tasks(), workers)) as records:
            counts = _clean_shards(records, result, notice)
        _check(stop, work)
        keeps = remove_duplicates(work, counts, config, result.tallies, lambda: _check(stop, work), notice)
        ready = work / "out"
        writes = (WriteTask(index, kept, work, ready, is_compressed) for index, kept in enumerate(keeps))
        with closing(runner(write_shard, writes, workers)) as entries:
            for entry in entries:
                result.after.merge(Statistics.from_json(entry.pop("after")))
                if entry:
                    result.files[entry.pop("name")] = entry
                _check(stop, work)
    if not result.files:
        raise DataError("no document is left after cleaning", where=_why(result), fix="relax the settings")
    finish(result, ready)
    put(ready / SETTINGS, settings.encode())
    write_manifest(ready, _manifest(result, settings, inputs.hexdigest()))
    _publish(ready, out)
    shutil.rmtree(work, ignore_errors=True)
    return result


def _clean_shards(records: Iterator[dict[str, Any]], result: Result, notice: Callable[[str], None]) -> list[int]:
    """收齐各分片的记录，合到结果里；返回各分片留下几份。"""
    counts = []
    for record in records:
        counts.append(record["kept"])
        result.before.merge(Statistics.from_json(record["before"]))
        for name, tally in record["tallies"].items():
            result.tallies.setdefault(name, Tally()).merge(Tally.from_json(tally))
        notice(f"shard {len(counts)}: {result.before.documents:,} documents read, {sum(counts):,} kept")
    return counts


def _shards(documents: Iterable[Document], shard_chars: int) -> Iterator[tuple[Document, ...]]:
    shard: list[Document] = []
    size = 0
    for document in documents:
        if shard and size + len(document.text) > shard_chars:
            yield tuple(shard)
            shard, size = [], 0
        shard.append(document)
        size += len(document.text)
    if shard:
        yield tuple(shard)


def _started(shards: Iterator[tuple[Document, ...]]) -> Iterator[tuple[Document, ...]]:
    first = next(shards, None)
    if first is None:
        raise DataError("the input has no documents", fix="use another source")
    return chain([first], shards)


def _check(stop: GracefulStop, work: Path) -> None:
    if stop.requested is not None:
        raise InterruptedRunError(
            "stopped before the corpus was clean; the finished shards are kept",
            where=str(work),
            fix="run the same command again to resume",
            exit_code=stop.exit_code,
        )


def _prepared(out: Path, settings: str) -> Path:
    """工作文件夹；上次的设置不同，就从头来过。"""
    work = out.with_name(f"{out.name}.partial")
    path = work / SETTINGS
    try:
        if work.exists() and (not path.is_file() or path.read_bytes() != settings.encode()):
            shutil.rmtree(work)
        shutil.rmtree(work / "out", ignore_errors=True)
        (work / "out").mkdir(parents=True)
    except OSError as error:
        raise OutOfDiskError(
            f"cannot create the output folder: {error.strerror}",
            where=str(work),
            fix="check the path and its permissions",
        ) from error
    put(path, settings.encode())
    return work


def _publish(ready: Path, out: Path) -> None:
    try:
        if out.exists():
            out.rmdir()  # 空的
        ready.rename(out)
    except OSError as error:
        raise OutOfDiskError(f"cannot put the result in place: {error.strerror}", where=str(out)) from error


def _listed(out: Path) -> Iterator[Path]:
    try:
        yield from out.iterdir()
    except OSError as error:
        raise UserError(
            f"cannot use the output folder: {error.strerror}", where=str(out), fix="use another --out"
        ) from error


def _checked(out: Path, settings: str, shards: Iterator[tuple[Document, ...]]) -> Result:
    """输出已在：设置、输入与每个文件都对得上，就原样返回。"""
    if not (out / MANIFEST).is_file():
        raise UserError("the output folder is not empty", where=str(out), fix="use another --out")
    content = read_manifest(out)
    if content["settings"] != settings:
        raise UserError("the folder holds a result of other settings", where=str(out), fix="use another --out")
    inputs = hashlib.blake2b(digest_size=16)
    for shard in shards:
        inputs.update(shard_digest(shard).encode())
    if content["input"] != inputs.hexdigest():
        raise UserError("the folder holds the result of other input", where=str(out), fix="use another --out")
    verify_files(out, content["files"])
    return Result(
        {name: Tally.from_json(tally) for name, tally in content["tallies"].items()},
        Statistics.from_json(content["before"]),
        Statistics.from_json(content["after"]),
        content["files"],
        is_new=False,
    )


def _manifest(result: Result, settings: str, inputs: str) -> dict[str, Any]:
    return {
        "settings": settings,
        "input": inputs,
        "files": result.files,
        "tallies": {name: tally.to_json() for name, tally in result.tallies.items()},
        "before": result.before.to_json(SHOWN_GRAMS),
        "after": result.after.to_json(SHOWN_GRAMS),
    }


def _why(result: Result) -> str:
    reasons = [
        f"{name}: {reason} ({count:,})"
        for name, tally in result.tallies.items()
        if tally.removed
        for reason, count in tally.reasons.most_common(2)
    ]
    return "; ".join(reasons)[:200]


def _leaks(config: CleanConfig) -> Leaks | None:
    if "decontaminate" not in config.stages or not config.decontaminate.test_sets:
        return None
    items = (item for path in config.decontaminate.test_sets for item in read_items(path))
    return index_items(items, config.decontaminate)


def _leaks_digest(leaks: Leaks | None) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for n, grams in (leaks.grams if leaks else {}).items():
        digest.update(n.to_bytes(8, "little"))
        digest.update(grams.tobytes())
    return f"test items {digest.hexdigest()}"


def _without_paths(config: CleanConfig) -> CleanConfig:
    """设置里去掉考题文件的路径：结果只与考题的内容有关。"""
    return replace(config, decontaminate=replace(config.decontaminate, test_sets=()))
