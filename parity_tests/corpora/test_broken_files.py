"""坏文件与文件夹：截断、损坏、没有权限、绕圈的链接，都停在指名的文件，或计数后略过。"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from parity_tests.corpora.reading import GOOD, compressed, refused, skipped, texts, tree
from tinygrad_llm.common.corpora import Faults, documents, record_files
from tinygrad_llm.common.errors import DataError


@pytest.mark.parametrize("suffix", [".txt.gz", ".jsonl.gz", ".jsonl.zst", ".txt.zst"])
def test_truncated_and_corrupt_compression_is_named(suffix: str, tmp_path: Path) -> None:
    """截断的说截断，坏了的说坏了，空的也算截断；略过时保住已经读出的各行。"""
    noise = random.Random(0).randbytes(240_000).hex()
    data = b"".join(GOOD + json.dumps({"text": noise[n : n + 60]}).encode() + b"\n" for n in range(0, 480_000, 60))
    path = tmp_path / f"a{suffix}"
    whole = compressed(data, path)
    path.write_bytes(whole[: len(whole) // 2])
    assert "cut short" in refused(path).problem
    faults = Faults("skip")
    if "jsonl" in suffix:
        assert 100 < sum(1 for _ in documents(str(path), on_error=faults)) < 16_000
        assert faults.counts == {"truncated file": 1}
    path.write_bytes(b"")
    assert "cut short" in refused(path).problem
    path.write_bytes(b"this was never compressed, whatever its name says")
    assert "corrupt" in refused(path).problem
    if path.suffix == ".zst":
        return  # 不带校验和的 zstd 帧，中间改动几个字面字节是看不出来的
    middle = bytearray(whole)
    middle[len(whole) // 2 : len(whole) // 2 + 50] = b"\0" * 50
    path.write_bytes(middle)
    assert refused(path).where.startswith(str(path))


def test_other_compression_is_not_taken_for_text(tmp_path: Path) -> None:
    """不支持的压缩格式不是 UTF-8，停在第一处坏字节。"""
    (tmp_path / "a.txt.bz2").write_bytes(bz2.compress(b"hello" * 100))
    assert "not valid UTF-8" in refused(tmp_path / "a.txt.bz2").problem


def test_concatenated_gzip_members_are_one_file(tmp_path: Path) -> None:
    """``cat a.gz b.gz`` 是合法的 gzip，两段都读。"""
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD) + gzip.compress(GOOD))
    assert texts(path) == ["good", "good"]


def test_a_folder_is_read_in_one_order_on_every_machine(tmp_path: Path) -> None:
    """按相对路径逐字符排序；隐藏的、不认识的与 .json 略去；名叫 x.jsonl 的文件夹只是文件夹。"""
    tree(
        tmp_path,
        {
            "part-10.txt": "ten",
            "part-2.txt": "two",
            "a/z.md": "z",
            "B.TXT": "b",
            "x.jsonl/inner.txt": "inner",
            ".hidden.txt": "WRONG",
            ".git/a.txt": "WRONG",
            "data.json": "WRONG",
            "data.json.gz": "WRONG",
            "script.py": "WRONG",
            "empty.txt": "",
        },
    )
    assert texts(tmp_path) == ["b", "z", "ten", "two", "inner"]


def test_a_pattern_selects_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """通配式只取匹配的文件，也按路径排序；一个不中就报错；名字里真有方括号的文件照读。"""
    tree(tmp_path, {"b.txt": "b", "a.txt": "a", "c.md": "c", "sub/d.txt": "d", "odd[1].txt": "odd"})
    assert texts(f"{tmp_path}/[ab].txt") == ["a", "b"]
    assert texts(f"{tmp_path}/**/*.txt") == ["a", "b", "odd", "d"]
    assert texts(tmp_path / "odd[1].txt") == ["odd"]
    monkeypatch.chdir(tmp_path)
    assert texts("*.md") == ["c"]
    assert "no file matches" in refused(tmp_path / "*.parquet").problem


def test_a_folder_with_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    """空文件夹、只有别的文件、只有空白、全都坏了：各有各的说法。"""
    assert "the folder has no" in refused(tmp_path).problem
    (tmp_path / "a.py").write_text("x")
    assert "the folder has no" in refused(tmp_path).problem
    (tmp_path / "a.txt").write_text(" \n")
    assert refused(tmp_path).problem == "the corpus is empty"
    (tmp_path / "b.txt").write_bytes(b"\xff")
    assert "1 inputs were skipped" in refused(tmp_path, on_error="skip").problem


def test_symbolic_links_are_followed_and_loops_reported(tmp_path: Path) -> None:
    """链接照走；绕回祖先的链接不会走个没完，断了的链接指名。"""
    tree(tmp_path, {"real/a.txt": "a", "root/b.txt": "b"})
    root = tmp_path / "root"
    try:
        (root / "linked").symlink_to(tmp_path / "real", target_is_directory=True)
    except OSError:
        pytest.skip("this system does not let us make symbolic links")
    assert texts(root) == ["b", "a"]
    (tmp_path / "real" / "back").symlink_to(root, target_is_directory=True)
    assert "loop" in refused(root).problem
    assert skipped(root) == (["b", "a"], {"symbolic link loop": 1})
    (tmp_path / "real" / "back").unlink()
    (root / "gone.txt").symlink_to(tmp_path / "nowhere")
    (root / "self.txt").symlink_to(root / "self.txt")
    assert str(root / "gone.txt") in refused(root).where
    assert skipped(root) == (["b", "a"], {"unreadable file": 2})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_a_folder_does_not_hang_the_reader(tmp_path: Path) -> None:
    """文件夹里的管道若被打开，会一直等人来写；指名并停下。"""
    os.mkfifo(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("b")
    assert "not a regular file" in refused(tmp_path).problem
    assert skipped(tmp_path) == (["b"], {"not a regular file": 1})


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.txt.gz"])
def test_an_unreadable_file_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """没有权限、磁盘出错：指名文件；略过时读其余的。"""
    tree(tmp_path, {name: "x", "b.txt": "b"})

    def denied(self: Path, *args: Any, **options: Any) -> Any:
        if self.name == name:
            raise PermissionError(13, "Permission denied")
        return open(self, *args, **options)  # noqa: PTH123  替身

    monkeypatch.setattr(Path, "open", denied)
    error = refused(tmp_path)
    assert (error.problem, error.where) == ("cannot read the file: permission denied", str(tmp_path / name))
    assert skipped(tmp_path) == (["b"], {"unreadable file": 1})


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """子文件夹打不开：不当作空的。"""
    tree(tmp_path, {"secret/a.txt": "a", "b.txt": "b"})
    real = os.listdir

    def denied(folder: Any) -> list[str]:
        if Path(folder).name == "secret":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "listdir", denied)
    assert refused(tmp_path).where == str(tmp_path / "secret")
    assert skipped(tmp_path) == (["b"], {"unreadable file": 1})


def test_a_disk_error_in_the_middle_names_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """读到一半出错：已读的照给，报错指名下一行。"""

    class Failing(io.RawIOBase):
        """给两行，然后出错的文件。"""

        def __init__(self) -> None:
            self.left = [GOOD, GOOD]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            if not self.left:
                raise OSError(5, "Input/output error")
            line = self.left.pop(0)
            buffer[: len(line)] = line
            return len(line)

    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD)
    monkeypatch.setattr(record_files, "open_bytes", lambda path: io.BufferedReader(Failing()))
    stream = documents(str(path))
    assert [next(stream).text, next(stream).text] == ["good", "good"]
    with pytest.raises(DataError, match="Input/output error") as caught:
        next(stream)
    assert caught.value.where == f"{path}:3"
