"""记录文件：各种格式读出同样的文档，坏行停在指名的一行，或计数后略过。"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parity_tests.corpora.reading import GOOD, compressed, refused, skipped, texts
from tinygrad_llm.common.corpora import Document, Faults, documents, opening, record_files, sources
from tinygrad_llm.common.errors import DataError, UserError

RECORDS: list[dict[str, Any]] = [
    {"text": "The first story.\nIt has two lines.", "id": 1},
    {"text": "第二个故事：“你好”。", "id": 2, "tags": ["a"]},
    {"text": 'emoji \U0001f600 and \\ and " and \t', "id": None},
]
LINES = b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in RECORDS)


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


def test_opening_knows_the_kinds() -> None:
    """后缀决定格式，压缩的后缀不算。"""
    kinds = {"a.txt.gz": "text", "a.JSONL.ZST": "json lines", "a.parquet": "parquet", "a.gz": "", "a": "", "a.py": ""}
    assert {name: opening.kind_of(Path(name)) for name in kinds} == kinds
