"""分片：写下的就是读回的，任何损坏都指名文件，没写完的不算数。"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common import cli
from tinygrad_llm.common.batches import Store, open_store
from tinygrad_llm.common.batches import index as index_module
from tinygrad_llm.common.batches.checks import STAMP
from tinygrad_llm.common.batches.index import INDEX, read_index
from tinygrad_llm.common.batches.shard import write_shards
from tinygrad_llm.common.batches.tokenise import encoded
from tinygrad_llm.common.corpora import Document
from tinygrad_llm.common.errors import DataError, OutOfDiskError, UserError
from tinygrad_llm.common.tokenizers import Tokenizer, train_bpe
from torch_llm.data import VERBS

TOKENIZER = train_bpe("the cat sat on the mat, the cat ate the rat. " * 9, 270)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "ate", "one", "rat;", "猫坐在垫子上。"]


def texts(count: int, seed: int = 0) -> list[str]:
    """几篇长短不一的文本。"""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 40))) for _ in range(count)]


def stream(some: list[str]) -> Iterator[Document]:
    """文本 → 文档流。"""
    return (Document(text, f"test#{i}") for i, text in enumerate(some))


def make(folder: Path, some: list[str], **options: object) -> Path:
    """写一个分片文件夹；一片很小，于是有好几片。"""
    out = folder / "shards"
    settings = {"source": "test", "val_fraction": 0.2, "shard_tokens": 100, **options}
    write_shards(stream(some), TOKENIZER, out, **settings)  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """一个写好的文件夹；要弄坏它的测试先复制。"""
    return make(tmp_path_factory.mktemp("made"), texts(40))


def copied(made: Path, tmp_path: Path) -> Path:
    """可以弄坏的一份，连同修改时间与「核对过」的记号。"""
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    return folder


def run(*words: object) -> int:
    """走一遍 ``python -m torch_llm data …``。"""
    return cli.main("data", "data", VERBS, [str(word) for word in words])


def test_shards_lose_or_reorder_documents(made: Path) -> None:
    """每五篇的第一篇归验证；各集合依次是「eot + 编码」，末尾再有一个 eot，逐 token 与重新编码的相同。"""
    store = open_store(made)
    for name, chosen in (("val", texts(40)[::5]), ("train", [t for i, t in enumerate(texts(40)) if i % 5])):
        split = store.split(name)
        wanted = [id for text in chosen for id in (TOKENIZER.eot, *TOKENIZER.encode(text))] + [TOKENIZER.eot]
        assert split.tokens.read(0, split.tokens.size).tolist() == wanted
        assert len(split.tokens.parts) == -(-len(wanted) // 100)
        assert split.lengths.tolist() == [len(TOKENIZER.encode(text)) + 1 for text in chosen]
        assert split.text_bytes == sum(len(text.encode()) for text in chosen)
    assert store.tokenizer == TOKENIZER
    assert store.index.dtype == "uint16"


def test_files_are_not_little_endian(made: Path) -> None:
    """文件里就是小端 uint16，没有文件头。"""
    ids = TOKENIZER.encode(texts(40)[0])
    raw = (made / "val-00000.bin").read_bytes()[: 2 * len(ids) + 2]
    assert raw == b"".join(id.to_bytes(2, "little") for id in [TOKENIZER.eot, *ids])[: len(raw)]


def test_large_vocabularies_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """词表超过 65,536 时用 uint32。"""
    assert [index_module.dtype_for(n) for n in (65_536, 65_537)] == ["uint16", "uint32"]
    monkeypatch.setattr("tinygrad_llm.common.batches.shard.dtype_for", lambda size: "uint32")
    split = open_store(make(tmp_path, texts(9))).split("train")
    assert split.tokens.dtype == np.uint32
    assert split.tokens.read(0, 2).tolist() == [TOKENIZER.eot, TOKENIZER.encode(texts(9)[1])[0]]


def test_threads_change_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """用几个线程分词，文件逐字节相同。"""
    monkeypatch.setattr("tinygrad_llm.common.batches.tokenise.BATCH_CHARACTERS", 200)
    folders = [make(tmp_path / str(workers), texts(60), workers=workers) for workers in (1, 3)]
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == sorted(path.name for path in folders[1].iterdir())
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_a_failing_corpus_is_swallowed_by_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """读语料读到一半出错：原样抛出，什么也不留下。"""
    monkeypatch.setattr("tinygrad_llm.common.batches.tokenise.BATCH_CHARACTERS", 100)

    def broken() -> Iterator[Document]:
        yield from stream(texts(30))
        raise DataError("bad line", where="corpus:31")

    for workers in (1, 2):
        with pytest.raises(DataError, match="bad line"):
            write_shards(broken(), TOKENIZER, tmp_path / "out", source="x", workers=workers)
        assert list(tmp_path.iterdir()) == []


def test_encoding_reads_the_whole_corpus_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """取走一篇的结果时，只多读了有限的几批：内存与语料的大小无关。"""
    monkeypatch.setattr("tinygrad_llm.common.batches.tokenise.BATCH_CHARACTERS", 1)
    taken = []

    def endless() -> Iterator[str]:
        for i in range(10_000):
            taken.append(i)
            yield "cat"

    results = encoded(endless(), TOKENIZER.encode_to_numpy, 2)
    for count in range(1, 9):
        next(results)
        assert len(taken) <= count + 5
    results.close()  # type: ignore[attr-defined]


@given(st.integers(0, 60), st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.9]))
def test_validation_takes_another_share(count: int, fraction: float) -> None:
    """每一段开头里，验证的篇数都是「比例 × 篇数」向上取整；只有一篇时按字数切开。"""
    from tinygrad_llm.common.batches.shard import _assigned

    some = [f"text {i}\nmore\n" for i in range(count)]
    found = list(_assigned(iter(some), fraction, divisible=True))
    if count == 1 and fraction:
        assert [split for split, _ in found] == ["train", "val"]
        assert "".join(text for _, text in found) == some[0]
        return
    assert [text for _, text in found] == some
    for n in range(count + 1):
        wanted = -(-n * round(fraction * 100) // 100)
        assert sum(split == "val" for split, _ in found[:n]) == wanted


# ---- 坏文件 ----


def damage(folder: Path, name: str, how: str) -> None:
    """弄坏一个文件。"""
    path = folder / name
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(data[:-2])
    elif how == "longer":
        path.write_bytes(data + b"\0\0")
    else:
        data[len(data) // 2] ^= 1 << (len(data) % 8)
        path.write_bytes(data)


FILES = ("train-00000.bin", "train-00001.bin", "train.documents.bin", "val-00000.bin", "tokenizer.json", INDEX)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "longer", "flipped"])
@pytest.mark.parametrize("opened_before", [False, True])
def test_broken_file_is_opened(made: Path, tmp_path: Path, name: str, how: str, opened_before: bool) -> None:
    """缺了、空了、短了、长了、翻了一位：都被发现，消息指名文件；以前打开过也一样。"""
    folder = copied(made, tmp_path)
    if opened_before:
        open_store(folder)
    damage(folder, name, how)
    with pytest.raises(DataError) as caught:
        open_store(folder)
    assert caught.value.exit_code == 4
    where = str(folder) if (name, how) == (INDEX, "missing") else name
    assert where in caught.value.where


def test_quiet_damage_escapes_verify(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """内容变了而修改时间没变：打开时看不出来（已核对过），``data verify`` 看得出来。"""
    folder = copied(made, tmp_path)
    open_store(folder)
    path = folder / "train-00001.bin"
    before = path.stat().st_mtime_ns
    damage(folder, path.name, "flipped")
    os.utime(path, ns=(before, before))
    open_store(folder)
    assert run("verify", folder) == 4
    assert "train-00001.bin" in capsys.readouterr().err


def test_damage_on_the_way_escapes_the_first_opening(made: Path, tmp_path: Path) -> None:
    """核对过的文件夹复制到别处，途中翻了一位，修改时间照旧：记号不作数，重新核对。"""
    open_store(made)
    folder = copied(made, tmp_path)
    path = folder / "val-00000.bin"
    before = path.stat().st_mtime_ns
    damage(folder, path.name, "flipped")
    os.utime(path, ns=(before, before))
    with pytest.raises(DataError, match="SHA-256"):
        open_store(folder)


def test_verify_fails_on_intact_shards(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """完好的文件夹逐个列出文件，退出码 0。"""
    assert run("verify", made) == 0
    out = capsys.readouterr().out
    assert "intact" in out
    assert all(name in out for name in FILES if name != INDEX)


def test_every_opening_reads_every_byte(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """第二次打开不再重读内容；动过任何文件就重读。"""
    folder = copied(made, tmp_path)
    open_store(folder)
    read: list[str] = []
    monkeypatch.setattr("tinygrad_llm.common.batches.checks._read", lambda path, index: read.append(path.name))
    open_store(folder)
    assert read == []
    os.utime(folder / "val-00000.bin")
    open_store(folder)
    assert "val-00000.bin" in read


def rewritten(folder: Path, **changes: object) -> None:
    """改写索引并补上正确的摘要：索引自身没有坏，只是与文件不符。"""
    content = json.loads((folder / INDEX).read_bytes())
    content.pop("checksum")
    content |= changes
    checksum = index_module._checksum(content)
    (folder / INDEX).write_text(json.dumps({**content, "checksum": checksum}), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"vocab_size": 260, "eot": 3}, "train-00000.bin"),
        ({"vocab_size": 271}, "tokenizer.json"),
        ({"eot": 5}, "train-00000.bin"),
        ({"tokenizer": "0" * 64}, "tokenizer.json"),
        ({"dtype": "uint32"}, INDEX),
        ({"dtype": "float64"}, INDEX),
        ({"dtype": ["uint16"]}, INDEX),
        ({"vocab_size": 2**20}, INDEX),
        ({"vocab_size": True}, INDEX),
        ({"shard_tokens": 0}, INDEX),
        ({"shard_tokens": 101}, INDEX),
        ({"splits": {}}, INDEX),
        ({"splits": {"train": {"documents": 1}}}, INDEX),
        ({"splits": [1]}, INDEX),
        ({"files": {}}, INDEX),
        ({"version": 2}, INDEX),
        ({"format": "other"}, INDEX),
    ],
)
def test_index_that_disagrees_is_opened(made: Path, tmp_path: Path, changes: dict[str, object], named: str) -> None:
    """索引说的与文件不一致：id 超出词表、eot 不对、类型或计数说不通、另一个分词器。"""
    folder = copied(made, tmp_path)
    rewritten(folder, **changes)
    with pytest.raises(DataError) as caught:
        open_store(folder)
    assert named in caught.value.where


def test_index_names_files_outside_its_folder(made: Path, tmp_path: Path) -> None:
    """索引里写着别处的路径：文件名由计数推出，多出来的一律拒绝。"""
    folder = copied(made, tmp_path)
    files = json.loads((folder / INDEX).read_bytes())["files"]
    rewritten(folder, files={**files, "../escape": {"size": 1, "sha256": "0"}})
    with pytest.raises(DataError):
        read_index(folder)


def test_odd_folders_are_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """不存在的、空的文件夹，与索引不是 JSON 的：三行以内，退出码 4。"""
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / INDEX).write_text("[" * 100_000, encoding="utf-8")
    for name in ("none", "empty", "odd"):
        assert run("verify", tmp_path / name) == 4
        assert len(capsys.readouterr().err.strip().splitlines()) <= 3


def test_read_only_shards_cannot_be_opened(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """只读的盘上留不下「核对过」的记号：照样打开，只是下次再核对。"""

    def refuse(path: Path, data: bytes) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    folder = copied(made, tmp_path)
    (folder / STAMP).unlink(missing_ok=True)
    monkeypatch.setattr("tinygrad_llm.common.batches.checks.write_atomically", refuse)
    assert isinstance(open_store(folder), Store)
    assert not (folder / STAMP).exists()


# ---- 写不完 ----


def test_full_disk_leaves_half_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """写到任何一处盘满：退出码 4，说出空间，什么也不留下。"""
    from tinygrad_llm.common.batches import writer

    real, left = writer.HashedFile.write, 0

    def limited(self: writer.HashedFile, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, data)

    monkeypatch.setattr(writer.HashedFile, "write", limited)
    for left in (0, 1, 7, 50):  # noqa: B007  limited 里用
        with pytest.raises(OutOfDiskError, match="disk is full") as caught:
            make(tmp_path, texts(40))
        assert caught.value.exit_code == 4
        assert list(tmp_path.iterdir()) == []


def test_unwritable_output_is_a_traceback(tmp_path: Path) -> None:
    """目标的上级是个文件：退出码 4，指名路径；读语料时的系统错误不归在写盘的头上。"""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="cannot write the shards"):
        write_shards(stream(texts(3)), TOKENIZER, tmp_path / "file" / "out", source="x")

    def unreadable() -> Iterator[Document]:
        yield from stream(texts(3))
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "corpus.txt"))

    with pytest.raises(PermissionError):
        write_shards(unreadable(), TOKENIZER, tmp_path / "out", source="x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_existing_output_is_overwritten(made: Path) -> None:
    """目标已存在：拒绝，原来的分片不动。"""
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    with pytest.raises(UserError, match="already exists"):
        make(made.parent, texts(3))
    assert before == {path.name: path.read_bytes() for path in made.iterdir()}


def test_interrupted_writing_leaves_something(tmp_path: Path) -> None:
    """Ctrl-C 落在写的半途：临时文件夹删掉，目标不存在。"""

    def pressed() -> Iterator[Document]:
        yield from stream(texts(5))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(pressed(), TOKENIZER, tmp_path / "out", source="x")
    assert list(tmp_path.iterdir()) == []


ENDLESS = """
import itertools, sys
from pathlib import Path
from tinygrad_llm.common.batches.shard import write_shards
from tinygrad_llm.common.corpora import Document
from tinygrad_llm.common.tokenizers import load_tokenizer

count = int(sys.argv[3])
stream = (Document("the cat sat on the mat " * 9, str(i)) for i in (range(count) if count else itertools.count()))
write_shards(stream, load_tokenizer(Path(sys.argv[1])), Path(sys.argv[2]), source="x", shard_tokens=1000)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_killed_writer_leaves_a_folder_that_opens(tmp_path: Path) -> None:
    """写到一半被 kill -9：目标不存在，残留的打不开；再写一次时清扫残留，得到完整的一份。"""
    TOKENIZER.save(tmp_path / "tokenizer.json")
    out = tmp_path / "out"
    command = [sys.executable, "-c", ENDLESS, str(tmp_path / "tokenizer.json"), str(out)]
    for shards in (1, 4):
        process = subprocess.Popen([*command, "0"])
        while not list(tmp_path.glob(f"out.tmp-{process.pid}/train-{shards:05d}.bin")):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        (left,) = tmp_path.glob("out.tmp-*")
        assert not out.exists()
        with pytest.raises(DataError, match="not a finished folder"):
            open_store(left)
    subprocess.run([*command, "7"], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tokenizer.json"]
    assert open_store(out).split("train").starts.size == 7


@pytest.mark.full
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_one_of_fifty_kills_leaves_a_folder_that_opens(tmp_path: Path) -> None:
    """在任意时刻 kill -9，写完之前、改名前后都有：目标要么不存在，要么完好；残留的永远打不开。"""
    TOKENIZER.save(tmp_path / "tokenizer.json")
    out, rng = tmp_path / "out", random.Random(0)
    command = [sys.executable, "-c", ENDLESS, str(tmp_path / "tokenizer.json"), str(out), "3000"]
    started_at = time.monotonic()
    subprocess.run(command, check=True)
    elapsed_s = time.monotonic() - started_at
    finished = 0
    for _ in range(50):
        shutil.rmtree(out, ignore_errors=True)
        process = subprocess.Popen(command)
        time.sleep(rng.uniform(0.5, 1.1) * elapsed_s)
        process.kill()
        process.wait()
        for left in tmp_path.glob("out.tmp-*"):
            with pytest.raises(DataError):
                open_store(left)
        if out.exists():
            finished += 1
            assert open_store(out).split("train").starts.size == 3000
    assert 0 < finished < 50


def test_command_line_differs_from_the_function(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """从文件到分片一条命令；打错的设置一次说全。"""
    (tmp_path / "some.txt").write_text("the cat sat on the mat\n" * 50, encoding="utf-8")
    TOKENIZER.save(tmp_path / "tok.json")
    out = tmp_path / "deep" / "out"
    flags = ["--tokenizer", tmp_path / "tok.json", "--out", out]
    assert run("shard", tmp_path / "some.txt", *flags, "--val-fraction", "0.1") == 0
    assert "bytes per token" in capsys.readouterr().out
    store = open_store(out)
    whole = "".join(
        Tokenizer.decode(TOKENIZER, store.split(name).tokens.read(1, store.split(name).tokens.size - 1).tolist())
        for name in ("train", "val")
    )
    assert whole == "the cat sat on the mat\n" * 50
    assert run("shard", tmp_path / "some.txt", *flags) == 2
    assert "already exists" in capsys.readouterr().err
    assert run("shard", tmp_path / "some.txt", "--val-fraction", "1.5", "--workers", "0") == 2
    said = capsys.readouterr().err
    assert "--val-fraction" in said
    assert "--workers" in said
    assert run("shard", tmp_path / "none.txt", "--tokenizer", tmp_path / "tok.json", "--out", tmp_path / "b") == 4
    assert not (tmp_path / "b").exists()
