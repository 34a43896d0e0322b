"""文本文件：怎样切片都不丢一个字节，坏字节说得准在哪里。"""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parity_tests.corpora.reading import refused
from tinygrad_llm.common.corpora import Faults, text_files
from tinygrad_llm.common.errors import DataError


@pytest.mark.parametrize(
    ("data", "message", "line"),
    [
        (b"one\ntwo\xff\nthree\n", "byte offset 7", 2),
        (b"\xef\xbb\xbfone\n\xff", "byte offset 7", 2),
        (b"one\n\ntwo\0", "NUL byte at byte offset 8", 3),
        ("一二".encode()[:-1], "byte offset 3", 1),
        ("hello".encode("utf-16"), "this is UTF-16", 1),
        (b"\xff", "byte offset 0", 1),
    ],
)
def test_bad_text_is_placed_to_the_byte(data: bytes, message: str, line: int, tmp_path: Path) -> None:
    """字节偏移（BOM 算在内）与行号都准。"""
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    error = refused(path)
    assert message in error.problem
    assert error.where == f"{path}:{line}"


def test_one_bad_byte_costs_one_piece_and_not_the_file(tmp_path: Path) -> None:
    """长文本里的一个坏字节：略过它所在的那一片，其余照读，偏移仍是整个文件里的。"""
    good = "".join(f"line {n}\n" for n in range(1000)).encode()
    path = tmp_path / "a.txt"
    path.write_bytes(good + b"\xff\n" + good)
    faults = Faults("skip")
    pieces = list(text_files.text_documents(path, faults, piece_bytes=500))
    assert faults.counts == {"not valid UTF-8": 1}
    assert faults.first["not valid UTF-8"] == f"{path}:1001"
    assert 2 * len(good) - 1000 < sum(len(piece.text) for piece in pieces) < 2 * len(good)
    stopped = pytest.raises(DataError, match=f"byte offset {len(good)}")
    with stopped:
        list(text_files.text_documents(path, Faults(), piece_bytes=500))


PIECES = st.lists(st.sampled_from(["a", "中", "\U0001f600", "\n", "\n\n", "\r\n", "\r", "é", " "]), max_size=60)


@given(PIECES, st.integers(8, 40))
@example(["xxxxxxx", "\r\n", "yyyyyyyyyyyy"], 8)
@example(["aaaa", "\n\n\n\n", "bbbbbbbb"], 7)
def test_pieces_laid_end_to_end_are_the_file(parts: list[str], piece_bytes: int) -> None:
    """怎样切片都不丢字节，不切开字符与换行，偏移与行号都准，没有一片过长。"""
    data = "".join(parts).encode()
    pieces = list(text_files._pieces(io.BytesIO(data), Path("a.txt"), Faults(), b"", piece_bytes))
    assert b"".join(piece.data for piece in pieces) == data
    for piece in pieces:
        assert 0 < len(piece.data) <= piece_bytes
        assert piece.data.decode()
        assert data[piece.offset :].startswith(piece.data)
        assert piece.line == data.count(b"\n", 0, piece.offset) + 1
        assert not (piece.data.endswith(b"\r") and data[piece.offset + len(piece.data) :].startswith(b"\n"))


_FOLDER: list[Path] = []


@pytest.fixture(autouse=True)
def _scratch_folder(tmp_path: Path) -> None:
    """hypothesis 的例子共用的文件夹。"""
    _FOLDER[:] = [tmp_path]


def _scratch(data: bytes, suffix: str) -> Path:
    path = _FOLDER[0] / f"scratch{suffix}"
    path.write_bytes(gzip.compress(data, 1) if suffix.endswith(".gz") else data)
    return path


def test_a_byte_order_mark_is_dropped_only_at_the_start(tmp_path: Path) -> None:
    """片首的 U+FEFF 若不在文件开头，就是正文里的字符。"""
    path = tmp_path / "a.txt"
    path.write_text("\ufeffaaaaaa\n\n\ufeffbbbbbb", encoding="utf-8")
    pieces = text_files.text_documents(path, Faults(), piece_bytes=11)
    assert [piece.text for piece in pieces] == ["aaaaaa\n\n", "\ufeffbbbbbb"]


@given(st.lists(st.text("ab\n中", min_size=1, max_size=20), min_size=1, max_size=8), st.integers(4, 64))
def test_a_separator_divides_documents_wherever_it_falls(stories: list[str], piece_bytes: int) -> None:
    """记号落在读取的块的边界上也认得；它自己不进正文；各份去掉首尾的换行。"""
    path = _scratch("<|end|>".join(stories).encode(), ".txt")
    found = list(text_files.text_documents(path, Faults(), separator="<|end|>", piece_bytes=piece_bytes))
    assert all("<|" not in document.text and "|>" not in document.text for document in found)
    if piece_bytes >= 60:
        assert [document.text for document in found] == [s.strip("\n") for s in stories if s.strip()]
