"""读取：各种格式读出同样的文档，坏输入停在指名的一行，或计数后略过。"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import random
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinygrad_llm.common.corpora import (
    Document,
    Faults,
    documents,
    load_corpus,
    opening,
    record_files,
    sources,
    text_files,
)
from tinygrad_llm.common.errors import DataError, UserError

RECORDS: list[dict[str, Any]] = [
    {"text": "The first story.\nIt has two lines.", "id": 1},
    {"text": "第二个故事：“你好”。", "id": 2, "tags": ["a"]},
    {"text": 'emoji \U0001f600 and \\ and " and \t', "id": None},
]
LINES = b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in RECORDS)


def texts(source: Path | str, **options: Any) -> list[str]:
    """一份语料的各份正文。"""
    return [document.text for document in documents(str(source), **options)]


def skipped(source: Path, **options: Any) -> tuple[list[str], dict[str, int]]:
    """略过坏输入之后的正文，与各个原因的次数。"""
    faults = Faults("skip")
    found = texts(source, on_error=faults, **options)
    return found, dict(faults.counts)


def refused(source: Path, **options: Any) -> DataError:
    """停下时的报错；顺便核对它的形状。"""
    with pytest.raises(DataError) as caught:
        texts(source, **options)
    assert caught.value.exit_code == 4
    assert str(caught.value).count("\n") <= 2
    assert caught.value.fix
    return caught.value


# ---- 各种格式 ----


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json", ".JSONL", ".jsonl.gz", ".jsonl.zst"])
def test_records_come_back_with_their_place_and_other_fields(suffix: str, tmp_path: Path) -> None:
    """正文、行号与其余字段都在；压缩与否、后缀大小写，读出来都一样。"""
    path = tmp_path / f"data{suffix}"
    path.write_bytes(compressed(LINES, path))
    assert list(documents(str(path))) == [
        Document(record["text"], f"{path}:{line}", {name: record[name] for name in record if name != "text"})
        for line, record in enumerate(RECORDS, 1)
    ]


def compressed(data: bytes, path: Path) -> bytes:
    """按后缀压缩；zst 借可选的库，没有就跳过这条测试。"""
    if path.suffix == ".gz":
        return gzip.compress(data)
    if path.suffix != ".zst":
        return data
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.compress(data)
    pyarrow = pytest.importorskip("pyarrow", reason="zst needs pyarrow before Python 3.14")
    return bytes(pyarrow.compress(data, "zstd", asbytes=True))


@pytest.mark.parametrize("suffix", [".txt", ".md", ".log", ".txt.gz", ".md.zst"])
def test_a_text_file_is_one_document(suffix: str, tmp_path: Path) -> None:
    """短的文本整篇是一份；BOM 与 Windows 的换行不进正文；不认识的后缀当作文本。"""
    path = tmp_path / f"poem{suffix}"
    path.write_bytes(compressed(b"\xef\xbb\xbfone\r\n\r\ntwo\rthree\n\xe4\xb8\xad", path))
    assert list(documents(str(path))) == [Document("one\n\ntwo\nthree\n中", f"{path}:1")]


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    """各个 row group 依次读出，行号从 1 起，空值的正文是坏输入。"""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "data.parquet"
    rows = [{"text": f"row {n}", "n": n} for n in range(1000)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=300)
    found = list(documents(str(path)))
    assert [document.text for document in found] == [row["text"] for row in rows]
    assert (found[299].source, found[300].meta) == (f"{path}:300", {"n": 300})
    assert refused(path, field="body").problem == 'no column "body"'
    assert "text, n" in refused(path, field="body").fix
    assert "number, not text" in refused(path, field="n").problem
    parquet.write_table(pyarrow.Table.from_pylist([*rows[:2], {"text": None, "n": 0}, rows[3]]), path)
    assert refused(path).where == f"{path}:3"
    assert skipped(path) == (["row 0", "row 1", "row 3"], {"field is not text": 1})


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    """截断的、根本不是 parquet 的、空的：一条报错，或略过这个文件。"""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist([{"text": "x" * 100}] * 2000), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    for name, data in {"b": whole[: len(whole) // 2], "c": b"not parquet at all", "d": b""}.items():
        (tmp_path / f"{name}.parquet").write_bytes(data)
        error = refused(tmp_path / f"{name}.parquet")
        assert "corrupt parquet" in error.problem
        assert error.where.startswith(str(tmp_path / f"{name}.parquet"))
    found, counts = skipped(tmp_path)
    assert (len(found), counts) == (2000, {"corrupt parquet file": 3})


def test_missing_libraries_are_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """没有装 pyarrow：说清装什么，而不是 ImportError 的 traceback。"""
    for module in ("pyarrow", "pyarrow.parquet", "compression", "compression.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    (tmp_path / "a.txt.zst").write_bytes(b"(\xb5/\xfd")
    names = ["a.parquet"] if sys.version_info >= (3, 14) else ["a.parquet", "a.txt.zst"]
    for name in names:
        with pytest.raises(UserError, match="needs pyarrow") as caught:
            texts(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)
        assert caught.value.fix == 'pip install "zero-one-llm[data]"'


# ---- 字段 ----


def test_several_fields_are_joined_and_kept(tmp_path: Path) -> None:
    """题目与答案以空行相接，原来的两个字段仍在 meta 里。"""
    path = tmp_path / "qa.jsonl"
    path.write_text('{"question": "1+1?", "answer": "2", "n": 5}\n')
    (document,) = documents(str(path), field="question, answer")
    assert document.text == "1+1?\n\n2"
    assert document.meta == {"question": "1+1?", "answer": "2", "n": 5}


def test_conversations_are_rendered_and_kept(tmp_path: Path) -> None:
    """对话写成逐轮的文字，结构仍在 meta 里，供聊天的训练使用。"""
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    path = tmp_path / "chat.jsonl"
    path.write_text(json.dumps({"messages": turns}) + "\n")
    (document,) = documents(str(path), field="messages")
    assert document.text == "user: hi\n\nassistant: hello"
    assert document.meta == {"messages": turns}
    for broken in ([], [3], [{"role": "user"}], [{"role": 1, "content": "x"}], {"role": "user", "content": "x"}):
        path.write_text(json.dumps({"messages": broken}) + "\n")
        assert "not text" in refused(path, field="messages").problem


def test_blank_lines_and_blank_texts_are_passed_over(tmp_path: Path) -> None:
    """空行与空白的正文不是错误，也不成为文档；行号照算。"""
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"text": ""}\n  \n{"text": " \\n"}\n{"text": "x"}')
    assert list(documents(str(path))) == [Document("x", f"{path}:5")]


# ---- 坏行 ----

GOOD = b'{"text": "good"}\n'
BAD_LINES = {
    "bad utf-8": (b'{"text": "caf\xe9"}\n', "byte offset 30", "not valid UTF-8"),
    "nul byte": (b'{"text": "a\0b"}\n', "NUL byte", "NUL byte"),
    "cut short": (b'{"text": "abc\n', "malformed JSON at column 10", "malformed JSON"),
    "not an object": (b'["text", "abc"]\n', "JSON array, not an object", "not an object"),
    "a bare word": (b"hello\n", "malformed JSON at column 1", "malformed JSON"),
    "missing field": (b'{"body": "abc", "id": 3}\n', 'no field "text"', "missing field"),
    "number": (b'{"text": 3}\n', 'field "text" holds a number', "field is not text"),
    "boolean": (b'{"text": true}\n', 'field "text" holds a boolean', "field is not text"),
    "null": (b'{"text": null}\n', 'field "text" holds a null', "field is not text"),
    "escaped nul": (b'{"text": "a\\u0000b"}\n', "NUL character", "the text holds a NUL character"),
    "surrogate": (b'{"text": "\\ud800"}\n', "lone surrogate", "the text holds a lone surrogate"),
    "too deep": (b"[" * 200_000 + b"\n", "malformed JSON", "malformed JSON"),
    "long number": (b'{"text": "a", "n": ' + b"9" * 10_000 + b"}\n", "malformed JSON", "malformed JSON"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_or_counted(name: str, tmp_path: Path) -> None:
    """停下时指名第几行、怎么回事；略过时只损失这一行，并按原因计数。"""
    line, message, reason = BAD_LINES[name]
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD + line + b"\n" + GOOD)
    error = refused(path)
    assert message in error.problem
    assert error.where == f"{path}:2"
    assert skipped(path) == (["good", "good"], {reason: 1})


def test_a_line_too_long_is_passed_over_without_being_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """没有换行的巨大文件不会被整个读进内存；后面各行的偏移与行号仍然对。"""
    monkeypatch.setattr(sources, "json_documents", limited(1000))
    path = tmp_path / "data.jsonl"
    long = b'{"text": "' + b"x" * 5000 + b'"}\n'
    path.write_bytes(GOOD + long + GOOD + b'{"text": "\xff"}\n')
    assert refused(path).where == f"{path}:2"
    assert "longer than 1,000 bytes" in refused(path).problem
    found, counts = skipped(path)
    assert (found, counts) == (["good", "good"], {"line too long": 1, "not valid UTF-8": 1})
    path.write_bytes(GOOD + long[:-1] + b" " * 1000)
    assert skipped(path) == (["good"], {"line too long": 1})
    path.write_bytes(long + b"\xff\n")
    assert f"byte offset {len(long)}" in bad_offset(path)


def limited(limit: int) -> Callable[..., Any]:
    """行长的限度改小的 ``json_documents``。"""
    return lambda path, field, faults: record_files.json_documents(path, field, faults, max_line_bytes=limit)


def bad_offset(path: Path) -> str:
    """略过第一种问题之后，第二种问题的说法。"""

    class Recorder(Faults):
        seen: list[str] = []  # noqa: RUF012  只此一例

        def report(self, problem: str, where: str = "", fix: str = "", *, reason: str = "") -> None:
            self.seen.append(problem)

    with pytest.raises(DataError):
        texts(path, on_error=Recorder("skip"))
    return Recorder.seen[-1]


def test_pretty_printed_json_is_told_apart_from_json_lines(tmp_path: Path) -> None:
    """用户给了一整份 JSON：说清要一行一个对象，而不是抱怨第 1 行第 2 列。"""
    path = tmp_path / "data.json"
    path.write_text(json.dumps(RECORDS, indent=2))
    error = refused(path)
    assert "one JSON document over many lines" in error.problem
    assert "jq" in error.fix
    path.write_text(json.dumps(RECORDS))
    assert "JSON array, not an object" in refused(path).problem
    assert "jq" in refused(path).fix


# ---- 坏文本 ----


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


# ---- 坏文件与文件夹 ----


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


def tree(root: Path, files: dict[str, str]) -> None:
    """按相对路径造一批文件。"""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


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


# ---- 一整段文本 ----


def test_load_corpus_takes_every_format(tmp_path: Path) -> None:
    """小规模训练也能读记录文件；各份以空行相接，大文件不会被切片弄出多余的空行。"""
    (tmp_path / "a.jsonl").write_bytes(LINES)
    assert load_corpus(str(tmp_path / "a.jsonl")).text == "\n\n".join(str(record["text"]) for record in RECORDS)
    long = "".join(f"line {n}\n" for n in range(300_000))
    (tmp_path / "b.txt").write_text(long)
    assert len(long) > 2 * text_files.PIECE_BYTES
    assert load_corpus(str(tmp_path / "b.txt")).text == long
    assert "".join(texts(tmp_path / "b.txt")) == long
    assert len(texts(tmp_path / "b.txt")) > 1


def test_the_built_in_corpora_are_streams_too() -> None:
    """两份自带的语料：出处带序号，meta 里有主题或路径，内容与整段文本相同。"""
    docs = list(documents("python-docs"))
    assert "\n\n".join(document.text for document in docs) == load_corpus("python-docs").text
    assert docs[0].source == "python-docs#0"
    assert docs[0].meta == {"topic": "assert"}
    code = next(documents("python-source"))
    assert (code.source, code.meta) == ("python-source#0", {"path": "__future__.py"})


def test_storyworld_is_a_corpus_of_any_size() -> None:
    """长短与种子写在名字里；每次相同，换了种子就不同；出处说得出是哪一篇。"""
    english = load_corpus("storyworld-en:20K")
    assert 20_000 <= len(english.text) < 25_000
    assert english.text.isascii()
    assert english.text == load_corpus("storyworld-en:20000").text
    assert english.name == "storyworld-en:20K"
    assert english.text[:500] != load_corpus("storyworld-en:20K:7").text[:500]
    chinese = "".join(texts("storyworld-zh:5k"))
    assert sum("\u4e00" <= letter <= "\u9fff" for letter in chinese) > 0.7 * len(chinese)
    sources_of = [document.source for document in documents("storyworld:20K")]
    assert len(set(sources_of)) == len(sources_of) > 10


@pytest.mark.parametrize("name", ["storyworld:", "storyworld:x", "storyworld:0", "storyworld:1M:", "storyworld:1M:-1"])
def test_a_misspelt_size_is_a_usage_error(name: str) -> None:
    """说清写法，而不是去找一个叫这名字的文件。"""
    with pytest.raises(UserError, match="not a size or a seed") as caught:
        texts(name)
    assert "storyworld:20M" in caught.value.fix


# ---- 内存 ----


def peak_bytes(path: Path) -> int:
    """读完一个文件，Python 分配的内存峰值，字节。"""
    tracemalloc.start()
    try:
        count = sum(1 for _ in documents(str(path)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count >= 4
    return peak


def big_file(folder: Path, suffix: str, size: int) -> Path:
    """一个合成的大文件，约 ``size`` 字节（压缩之前）。"""
    path = folder / f"big{suffix}"
    line = "the quick brown fox jumps over the lazy dog " * 20
    block = (
        "".join(f'{{"text": "{line}", "id": {n}}}\n' for n in range(1000)) if "json" in suffix else f"{line}\n" * 1000
    )
    data = block.encode()
    with gzip.open(path, "wb", compresslevel=1) if suffix.endswith(".gz") else path.open("wb") as file:
        for _ in range(-(-size // len(data))):
            file.write(data)
    return path


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".jsonl.gz"])
def test_memory_does_not_grow_with_the_file(suffix: str, tmp_path: Path) -> None:
    """四倍大的文件，内存峰值不变：只与一片或一行有关。"""
    small = peak_bytes(big_file(tmp_path, suffix, 4 << 20))
    large = peak_bytes(big_file(tmp_path, suffix, 16 << 20))
    assert large < 1.2 * small
    assert large < 10 * text_files.PIECE_BYTES


@pytest.mark.full
@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".jsonl.gz"])
def test_two_hundred_megabytes_stay_within_the_bound(suffix: str, tmp_path: Path) -> None:
    """200 MB 的文件，内存不超过 10 片（10 MiB）。"""
    assert peak_bytes(big_file(tmp_path, suffix, 200_000_000)) < 10 * text_files.PIECE_BYTES


@pytest.mark.full
def test_two_hundred_megabytes_of_parquet_stay_within_the_bound(tmp_path: Path) -> None:
    """parquet 按 row group 读：pyarrow 自己的内存池也不随文件增大。"""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    line = "the quick brown fox jumps over the lazy dog " * 20
    path = tmp_path / "big.parquet"
    table = pyarrow.table({"text": [f"{n} {line}" for n in range(4000)]})
    with parquet.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as writer:
        for _ in range(60):
            writer.write_table(table, row_group_size=1000)
    assert path.stat().st_size > 200_000_000
    before = pyarrow.total_allocated_bytes()
    peak = 0
    for count, _ in enumerate(documents(str(path))):
        if count % 1000 == 0:
            peak = max(peak, pyarrow.total_allocated_bytes() - before)
    assert peak < 16 << 20


def test_opening_knows_the_kinds() -> None:
    """后缀决定格式，压缩的后缀不算。"""
    kinds = {"a.txt.gz": "text", "a.JSONL.ZST": "json lines", "a.parquet": "parquet", "a.gz": "", "a": "", "a.py": ""}
    assert {name: opening.kind_of(Path(name)) for name in kinds} == kinds
