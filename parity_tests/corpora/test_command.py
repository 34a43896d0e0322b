"""``data list``、``data fetch``、``data peek`` 与环境变量：用户看到的文字。"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from parity_tests.corpora.server import FaultyServer
from tinygrad_llm.common import environment
from tinygrad_llm.common.cli import main
from tinygrad_llm.common.corpora import sources
from tinygrad_llm.common.corpora.catalogue import CATALOGUE, Entry, RemoteFile
from torch_llm.data import VERBS

BODY = b'{"question": "1+1?", "answer": "2"}\n{"question": "2+2?", "answer": "4"}\n'


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """每条测试有自己的缓存与一份小语料。"""
    monkeypatch.setenv(environment.CACHE, str(tmp_path / "cache"))
    monkeypatch.delenv(environment.MIRROR, raising=False)
    monkeypatch.delenv(environment.OFFLINE, raising=False)
    urls = [f"https://example.invalid/sums-{n}.jsonl" for n in range(3)]
    files = tuple(RemoteFile(url, len(BODY), hashlib.sha256(BODY).hexdigest()) for url in urls)
    entry = Entry("sums", "small sums", "MIT", "https://example.invalid", files, field="question,answer")
    monkeypatch.setitem(CATALOGUE, "sums", entry)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """运行一个动词，返回退出码、stdout 与 stderr。"""
    code = main("data", "data", VERBS, argv)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_fetch_then_list_then_peek(capsys: pytest.CaptureFixture[str]) -> None:
    """取两个文件，清单里看得到 2 of 3，看得到题目与答案；行都不太宽。"""
    with FaultyServer(BODY) as server:
        code, out, _ = run(capsys, "fetch", "sums", "--files", "2", "--mirror", server.url)
    assert code == 0
    assert "2 of 3 files" in out
    assert "licence: MIT" in out
    _, out, _ = run(capsys, "list")
    (row,) = [line for line in out.splitlines() if line.startswith("sums ")]
    assert row.endswith("  small sums")
    assert "2 of 3" in row
    assert all(name in out for name in [*CATALOGUE, *sources.CORPUS_NAMES])
    assert max(map(len, out.partition("\n\n")[0].splitlines())) <= 120
    code, out, _ = run(capsys, "peek", "sums", "--documents", "1")
    assert code == 0
    assert "sums-0.jsonl:1 (7 characters)\n1+1?\n\n2\n" in out
    assert out.count("──") == 1
    assert "documents    4\n" in out
    assert "characters   28\n" in out
    assert "other fields question, answer\n" in out


def test_peek_clips_long_documents_and_says_there_is_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """只显示开头，只数前几份；都说得清楚。"""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "abcdefghij"}\n' * 5)
    _, out, _ = run(capsys, "peek", str(path), "--characters", "4", "--scan", "2", "--documents", "1")
    assert "abcd\n… 6 more characters\n" in out
    assert "documents    2 read; there are more" in out
    _, out, _ = run(capsys, "peek", str(path), "--scan", "5")
    assert "documents    5\n" in out
    _, out, _ = run(capsys, "peek", str(path), "--scan", "0")
    assert "documents    5\n" in out


def test_peek_stops_at_bad_input_or_counts_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """默认停在坏行，退出码 4；``--on-error skip`` 数出来。"""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good"}\nbad\nworse\n')
    code, _, err = run(capsys, "peek", str(path))
    assert code == 4
    assert f"at: {path}:2" in err
    assert "--on-error skip" in err
    code, out, _ = run(capsys, "peek", str(path), "--on-error", "skip")
    assert code == 0
    assert f"skipped 2: malformed JSON (first: {path}:2)" in out


def test_wrong_options_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """打错的名字、负的数、离线：各是一条消息，退出码 2 或 4。"""
    assert run(capsys, "peek", "python-docs", "--documents", "-1")[0] == 2
    code, _, err = run(capsys, "peek", "pyhton-docs")
    assert code == 2
    assert 'did you mean "python-docs"?' in err
    assert run(capsys, "fetch", "nothing")[0] == 2
    code, _, err = run(capsys, "fetch", "sums", "--offline")
    assert code == 4
    assert "data fetch sums" in err


def test_the_cache_lies_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """三种系统各有惯例；环境变量优先，``~`` 会展开。"""
    monkeypatch.setenv(environment.CACHE, "~/mine")
    assert environment.cache_folder() == Path.home() / "mine"
    monkeypatch.setenv(environment.CACHE, " ")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    for platform, folder in {"linux": tmp_path, "win32": tmp_path / "local"}.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert environment.cache_folder() == folder / "zero-one-llm"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert environment.cache_folder() == Path.home() / "Library" / "Caches" / "zero-one-llm"


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("true", True), ("0", False), ("", False), ("No", False)])
def test_the_offline_variable_means_what_it_says(value: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """``0``、``no`` 与空串不是断网。"""
    monkeypatch.setenv(environment.OFFLINE, value)
    assert environment.is_offline() is expected
