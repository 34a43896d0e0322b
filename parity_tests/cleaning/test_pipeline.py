"""整条流水线：与进程数无关，可以续做，不留半成品，坏了说得清。"""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tinygrad_llm.common.cleaning import CleanConfig, Result, clean
from tinygrad_llm.common.cleaning.config import DecontaminateConfig, LengthConfig
from tinygrad_llm.common.cleaning.decontaminate import Leaks
from tinygrad_llm.common.cleaning.output import MANIFEST
from tinygrad_llm.common.cleaning.shard import ShardTask
from tinygrad_llm.common.cleaning.stages import Stage, Verdict, document_stages, run_stages
from tinygrad_llm.common.cleaning.tally import Tally
from tinygrad_llm.common.cleaning.workers import run_local
from tinygrad_llm.common.corpora import Document, Faults, documents
from tinygrad_llm.common.errors import DataError, InterruptedRunError, OutOfDiskError, UserError, WorkerError

SHARD = 6000


def corpus() -> list[Document]:
    """六十份中英文的文档，夹着每个阶段都该管的一两份。"""
    rng = random.Random(9)
    texts = [" ".join(f"word{rng.randrange(500)}" for _ in range(rng.randint(30, 120))) for _ in range(40)]
    texts += ["".join(chr(rng.randint(0x4E00, 0x9F00)) for _ in range(rng.randint(60, 200))) for _ in range(14)]
    texts[7] = "too short"
    texts[9] = "<html><body><p>" + texts[3] + " with one more line</p></body></html>"  # 规整之后与 3 近似
    texts[11] = texts[2] + "  \r\n"  # 规整之后与 2 相同
    texts[13] += " write to someone@example.com or call 13812345678"
    texts[17] = "buy now " * 60
    texts[19] = texts[5][::-1].replace("drow", "word") + "\nseven words of a very secret test item\n"
    texts[50] = texts[45][:-3] + "改了尾"
    return [Document(text, f"made#{number}", {"label": number % 3}) for number, text in enumerate(texts)]


def config(tmp_path: Path) -> CleanConfig:
    """考题是一句话。"""
    path = tmp_path / "test.txt"
    path.write_text("Seven words of a very SECRET test item!\n", encoding="utf-8")
    return CleanConfig(decontaminate=DecontaminateConfig(test_sets=(path,)))


def run(tmp_path: Path, out: str = "out", **options: Any) -> Result:
    """清洗 ``corpus()``。"""
    return clean(iter(corpus()), tmp_path / out, config(tmp_path), shard_chars=SHARD, **options)


def contents(folder: Path) -> dict[str, bytes]:
    """文件夹里的全部文件。"""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kept(folder: Path) -> list[dict[str, Any]]:
    """留下的记录。"""
    return [
        json.loads(line) for path in sorted(folder.glob("*.gz")) for line in gzip.open(path, "rt", encoding="utf-8")
    ]


def test_each_stage_removes_what_it_should(tmp_path: Path) -> None:
    """埋下的毛病各归各的阶段，别的文档原样留下，账目对得上。"""
    result = run(tmp_path)
    removed = {name: tally.removed for name, tally in result.tallies.items()}
    assert removed == {
        "normalise": 0,
        "length": 1,
        "symbols": 0,
        "repetition": 1,
        "language": 0,
        "decontaminate": 1,
        "pii": 0,
        "exact": 1,
        "near": 2,
    }
    rows = kept(tmp_path / "out")
    gone = {f"made#{number}" for number in (7, 9, 11, 17, 19, 50)}
    assert [row["origin"] for row in rows] == [one.source for one in corpus() if one.source not in gone]
    scrubbed = next(row["text"] for row in rows if row["origin"] == "made#13")
    assert scrubbed.endswith("write to <EMAIL> or call <PHONE>")
    assert all(row["label"] == int(row["origin"].split("#")[1]) % 3 for row in rows)
    assert (result.before.documents, result.after.documents) == (54, 48)
    assert result.after.chars == sum(len(row["text"]) for row in rows)
    assert result.after.bytes == sum(len(row["text"].encode()) for row in rows)
    seen = [tally.seen for tally in result.tallies.values()]
    assert seen == [54 - sum(list(removed.values())[:place]) for place in range(len(seen))]
    near = result.tallies["near"].examples["nearly the same as an earlier document"]
    assert [(one.source, one.after.split("\n")[0]) for one in near] == [
        ("made#9", "[made#3]"),
        ("made#50", "[made#45]"),
    ]


def test_the_result_depends_on_the_number_of_workers(tmp_path: Path) -> None:
    """一个进程与两个进程写出的每个文件逐字节相同。"""
    run(tmp_path, "one", workers=1)
    run(tmp_path, "two", workers=2)
    assert len(contents(tmp_path / "one")) >= 4
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_second_run_starts_over(tmp_path: Path) -> None:
    """同样的设置与输入再运行一遍，一个文件也不动；设置或输入不同则拒绝，坏了的输出认得出。"""
    first = run(tmp_path)
    before = contents(tmp_path / "out")
    again = run(tmp_path)
    assert (first.is_new, again.is_new) == (True, False)
    assert contents(tmp_path / "out") == before
    assert (again.tallies, again.files) == (first.tallies, first.files)
    with pytest.raises(UserError, match="other settings"):
        run(tmp_path, is_compressed=False)
    with pytest.raises(UserError, match="other input"):
        clean(corpus()[1:], tmp_path / "out", config(tmp_path), shard_chars=SHARD)
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        run(tmp_path, "busy")
    victim = next((tmp_path / "out").glob("*.gz"))
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(DataError, match="differs from its manifest"):
        run(tmp_path)
    text = (tmp_path / "out" / MANIFEST).read_text(encoding="utf-8")
    (tmp_path / "out" / MANIFEST).write_text(text.replace('"removed": 2', '"removed": 3'), encoding="utf-8")
    with pytest.raises(DataError, match="damaged"):
        run(tmp_path)


def test_an_interrupted_run_loses_finished_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """第三个分片之后按 Ctrl-C：没有半成品；再运行时做完的分片不再做，结果与没有中断的一样。"""
    run(tmp_path, "whole")

    def interrupted() -> Iterator[Document]:
        for number, document in enumerate(corpus()):
            if number == 30:
                os.kill(os.getpid(), signal.SIGINT)
            yield document

    with pytest.raises(InterruptedRunError) as caught:
        clean(interrupted(), tmp_path / "out", config(tmp_path), shard_chars=SHARD)
    assert caught.value.exit_code == 130
    assert not (tmp_path / "out").exists()
    done = len(list((tmp_path / "out.partial").glob("*.json")))
    assert done >= 2
    judged: list[int] = []

    def counted(settings: CleanConfig, leaks: Leaks | None) -> list[Stage]:
        judged.append(1)
        return document_stages(settings, leaks)

    monkeypatch.setattr("tinygrad_llm.common.cleaning.shard.document_stages", counted)
    run(tmp_path)
    assert len(judged) == len(list((tmp_path / "whole").glob("*.gz"))) - done
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not (tmp_path / "out.partial").exists()


def test_changed_settings_reuse_old_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """中断之后换了设置，不能接着用旧的分片。"""
    monkeypatch.setattr("tinygrad_llm.common.cleaning.pipeline.write_shard", _full_disk)
    with pytest.raises(OutOfDiskError):
        run(tmp_path)
    monkeypatch.undo()
    strict = replace(config(tmp_path), length=LengthConfig(min_chars=400))
    fresh = clean(iter(corpus()), tmp_path / "fresh", strict, shard_chars=SHARD)
    assert clean(iter(corpus()), tmp_path / "out", strict, shard_chars=SHARD).tallies == fresh.tallies


def _full_disk(task: Any) -> Any:
    raise OutOfDiskError("cannot write: No space left on device", where=str(task.out), fix="free some space")


def test_a_full_disk_leaves_a_finished_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """写到一半磁盘满了：报错指名文件，输出文件夹不出现；腾出空间后接着做。"""
    real, calls = os.fsync, [0]

    def failing(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > 9:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OutOfDiskError, match="No space left"):
        run(tmp_path)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert run(tmp_path).after.documents == 48


def _dies(number: int) -> int:
    if number == 2:
        os._exit(9)
    return number


def _fails(number: int) -> int:
    if number == 2:
        raise DataError("bad shard", where=f"shard {number}", fix="mend it")
    return number


def _square(number: int) -> int:
    return number * number


def test_a_dead_worker_hangs_or_prints_a_traceback() -> None:
    """工作进程被杀，主进程得到一句话；工作进程里的用户错误原样传回。"""
    with pytest.raises(WorkerError, match="worker process died"):
        list(run_local(_dies, range(8), 2))
    with pytest.raises(DataError) as caught:
        list(run_local(_fails, range(8), 2))
    assert str(caught.value) == "error: bad shard\n   at: shard 2\n  fix: mend it"


def test_tasks_are_read_ahead_without_bound() -> None:
    """结果按次序；同时在手的任务不超过进程数加二。"""
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for number in range(12):
            taken += 1
            yield number

    results = run_local(_square, tasks(), 2)
    for number in range(12):
        assert next(results) == number * number
        assert taken <= number + 1 + 4
    assert list(results) == []


def test_nothing_left_is_written_as_success(tmp_path: Path) -> None:
    """一份也没留下就报错，说出为什么。"""
    with pytest.raises(DataError, match="no document is left") as caught:
        clean([Document("short", "a#0")], tmp_path / "out", CleanConfig())
    assert "too short" in caught.value.where
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="no documents"):
        clean([], tmp_path / "none", CleanConfig())


def test_broken_lines_are_not_counted(tmp_path: Path) -> None:
    """坏行按设置停下或略过；干净的输出还能当语料读回来，出处不丢。"""
    path = tmp_path / "in.jsonl"
    good = [json.dumps({"text": document.text, "label": 1}) for document in corpus()[:5]]
    path.write_text("\n".join([*good[:2], "{oops", *good[2:]]) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="JSON") as caught:
        clean(documents(str(path)), tmp_path / "out", CleanConfig())
    assert caught.value.where.endswith("in.jsonl:3")
    faults = Faults("skip")
    result = clean(documents(str(path), on_error=faults), tmp_path / "out", CleanConfig())
    assert (faults.counts.total(), result.after.documents) == (1, 5)
    again = list(documents(str(tmp_path / "out")))
    assert [document.meta["origin"].rsplit(":", 1)[1] for document in again] == ["1", "2", "4", "5", "6"]


def test_memory_grows_with_the_corpus(tmp_path: Path) -> None:
    """文档流只在需要时取：第一个分片的记录出来时，后面的还没有读。"""
    taken = 0

    def endless() -> Iterator[Document]:
        nonlocal taken
        for number in range(200):
            taken += 1
            yield Document(f"{number:03} " * 200, f"made#{number}")

    def watching(function: Callable[[Any], Any], tasks: Any, workers: int) -> Any:
        for task in tasks:
            assert not isinstance(task, ShardTask) or taken <= 10 * (task.index + 1) + 1
            yield function(task)

    few = CleanConfig(stages=("normalise", "exact"))
    assert clean(endless(), tmp_path / "out", few, runner=watching, shard_chars=8000).after.documents == 200


def test_stages_are_not_pure_streams() -> None:
    """自己写的阶段也能流过：一次一份，账目记下理由，没有改动的就是原来的对象。"""
    shout = Stage("shout", lambda text: Verdict(text.upper(), {"raised": 1} if text != text.upper() else {}))
    only = Stage("only", lambda text: Verdict(None, {"no A": 1}, "why") if "A" not in text else Verdict(text))
    tallies: dict[str, Tally] = {}
    inputs = [Document("banana", "x#0"), Document("A", "x#1"), Document("kiwi", "x#2")]
    out = list(run_stages([shout, only], inputs, tallies))
    assert [one.text for one in out] == ["BANANA", "A"]
    assert out[1] is inputs[1]
    assert (tallies["shout"].changed, tallies["only"].removed) == (2, 1)
    assert tallies["only"].examples["no A"][0].after == "why"
    assert Tally.from_json(json.loads(json.dumps(tallies["only"].to_json()))) == tallies["only"]
    assert [stage.name for stage in document_stages(CleanConfig(stages=("pii", "length")))] == ["pii", "length"]
