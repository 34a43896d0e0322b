"""语料：内置的两份稳定可用，用户的文件按规矩读入，每种坏输入都有清楚的报错与退出码。"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.corpora import Corpus, load_corpus, split_text
from tinygrad_llm.common.errors import DataError, UserError


def test_python_docs_is_the_sorted_language_reference() -> None:
    """几百 KB 的英文，按主题名排序，换行统一。"""
    corpus = load_corpus("python-docs")
    assert corpus.name == "python-docs"
    assert 300_000 < len(corpus.text.encode()) < 2_000_000
    assert "\r" not in corpus.text
    assert corpus.text.startswith('The "assert" statement')


def test_python_docs_copes_with_other_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    """字典里混有别的值时只取文本；缺少模块或名字时报 DataError。"""
    fake = types.ModuleType("pydoc_data.topics")
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", fake)
    with pytest.raises(DataError, match="does not ship"):
        load_corpus("python-docs")
    fake.topics = {"b": "two\r\n", "n": 3, "a": "one"}  # type: ignore[attr-defined]
    assert load_corpus("python-docs").text == "one\n\ntwo\n"
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match="does not ship"):
        load_corpus("python-docs")


def test_python_source_takes_the_library_without_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """只取标准库自身的 .py，按相对路径排序，跳过测试、第三方包与不是 UTF-8 的文件。"""
    kept = {"a.py": "A", "b/c.py": "C", "b.py": "B", "tests.py": "T"}
    skipped = ["site-packages/x.py", "test/x.py", "lib2to3/tests/x.py", "idlelib/idle_test/x.py", "b/__pycache__/x.py"]
    for name in [*kept, *skipped, "notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(kept.get(name, "WRONG"))
    (tmp_path / "latin.py").write_bytes(b"# \xe9")
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    assert load_corpus("python-source") == Corpus("python-source", "A\n\nB\n\nC\n\nT")


def test_python_source_is_missing_in_a_stripped_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """没有源码的发行版得到 DataError，而不是空语料。"""
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(DataError, match="no source files"):
        load_corpus("python-source")


def test_a_file_is_read_with_unix_newlines_and_without_bom(tmp_path: Path) -> None:
    """Windows 的换行与 BOM 不进入训练文本；后缀不限。"""
    path = tmp_path / "poem.log"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n\xe4\xb8\xad")
    assert load_corpus(str(path)) == Corpus("poem.log", "one\ntwo\nthree\n中")


def test_a_folder_is_read_in_the_order_of_relative_paths(tmp_path: Path) -> None:
    """只取 .txt 与 .md，含子文件夹；空文件略过。"""
    files = {"b.txt": "B", "a/z.md": "Z", "a.TXT": "A", "c.py": "WRONG", "empty.txt": " \n"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert load_corpus(str(tmp_path)) == Corpus(tmp_path.name, "A\n\nZ\n\nB")


def broken(tmp_path: Path, name: str) -> str:
    """造出一种坏输入，返回它的路径。"""
    path = tmp_path / "bad.txt"
    if name == "empty":
        path.touch()
    elif name == "blank":
        path.write_text(" \n\t\n")
    elif name == "not utf-8":
        path.write_bytes(b"abc\xff")
    elif name == "folder without text":
        path.mkdir()
    elif name == "folder of blank files":
        path.mkdir()
        (path / "a.txt").touch()
    elif name == "too long":
        return "x" * 5000
    elif name == "nul":
        return "a\0b"
    return str(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "no such file"),
        ("empty", "empty"),
        ("blank", "empty"),
        ("not utf-8", "byte offset 3"),
        ("folder without text", "no .txt, .md, .jsonl"),
        ("folder of blank files", "empty"),
    ],
)
def test_bad_files_are_data_errors_that_name_the_path(tmp_path: Path, name: str, message: str) -> None:
    """退出码 4，并指名路径。"""
    source = broken(tmp_path, name)
    with pytest.raises(DataError, match=message) as caught:
        load_corpus(source)
    assert caught.value.exit_code == 4
    assert caught.value.where == (f"{source}:1" if name == "not utf-8" else source)
    assert caught.value.fix
    assert "--on-error" not in caught.value.fix  # 训练的命令没有这个参数


@pytest.mark.parametrize("name", ["too long", "nul"])
def test_impossible_paths_do_not_crash(tmp_path: Path, name: str) -> None:
    """过长的名字与含 NUL 的名字也是一条清楚的报错。"""
    with pytest.raises(UserError) as caught:
        load_corpus(broken(tmp_path, name))
    assert len(str(caught.value)) < 300
    assert str(caught.value).count("\n") <= 2


@pytest.mark.parametrize("source", ["pyhton-docs", "", "  ", "shakespeare"])
def test_an_unknown_name_lists_the_known_ones(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """打错语料名：退出码 2，列出可用的名字。"""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="unknown corpus or missing file") as caught:
        load_corpus(source)
    assert caught.value.exit_code == 2
    assert "python-docs, python-source" in caught.value.fix


@given(st.text("ab\n", min_size=2, max_size=80), st.floats(0.001, 0.999))
def test_the_split_is_two_parts_of_the_text(text: str, val_fraction: float) -> None:
    """首尾相接即为原文，两份都不空，训练部分不多于应得的。"""
    train, val = split_text(text, val_fraction)
    assert train + val == text
    assert train
    assert val
    assert len(train) <= max(1, round(len(text) * (1 - val_fraction)))


def test_the_split_is_at_the_start_of_a_line() -> None:
    """十行文本留两行半时，切在整行处。"""
    text = "".join(f"line {n}\n" for n in range(10))
    train, val = split_text(text, 0.25)
    assert (train.count("\n"), val.count("\n")) == (7, 3)
    assert val.startswith("line 7\n")


@pytest.mark.parametrize("text", ["x" * 1000, "title\n" + "x" * 994])
def test_a_text_without_lines_is_still_split_near_the_target(text: str) -> None:
    """整篇一行的文本（如 text8）不会把训练部分切得只剩标题。"""
    assert len(split_text(text, 0.1)[0]) == 900


@pytest.mark.parametrize("val_fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_the_open_interval_is_refused(val_fraction: float) -> None:
    """比例越界是用法错误。"""
    with pytest.raises(UserError) as caught:
        split_text("a\nb\n", val_fraction)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["", "a"])
def test_too_short_a_text_is_a_data_error(text: str) -> None:
    """一个字符分不成两份。"""
    with pytest.raises(DataError):
        split_text(text, 0.5)
