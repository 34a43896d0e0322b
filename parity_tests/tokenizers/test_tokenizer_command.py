"""命令行 ``tokenizer``：各个动词从头到尾走一遍，出错时三行以内、退出码正确。"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from parity_tests.tokenizers.samples import SAMPLE, small
from parity_tests.tokenizers.test_gguf import vocabulary
from tinygrad_llm.common.cli import main
from tinygrad_llm.common.tokenizers import load_tokenizer
from tinygrad_llm.common.tokenizers.command import VERBS
from tinygrad_llm.common.tokenizers.formats import load_any


def run(*argv: str | Path) -> int:
    """在本进程里运行一个动词。"""
    return main("tokenizer", "", VERBS, [str(one) for one in argv])


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """换掉标准输入。"""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """存好的小分词器。"""
    small().save(tmp_path / "small.json")
    return tmp_path / "small.json"


def test_train_encode_decode_round_trip(tmp_path: Path) -> None:
    """训练之后，真正的子进程编码，再从管道解码，逐字节还原。"""
    (tmp_path / "a.txt").write_text(SAMPLE, encoding="utf-8")

    def call(*argv: str, given: bytes = b"") -> bytes:
        command = [sys.executable, "-m", "tinygrad_llm", "tokenizer", *argv]
        return subprocess.run(
            command, input=given, capture_output=True, check=True, cwd=Path(__file__).parents[2]
        ).stdout

    out = str(tmp_path / "t.json")
    assert run("train", tmp_path / "a.txt", "--out", out, "--vocab-size", "300", "--pattern", "gpt4") == 0
    assert load_tokenizer(Path(out)).pattern == "gpt4"
    text = "the cat\n<|endoftext|> 分词\t\n".encode()
    ids = call("encode", out, given=text)
    assert list(map(int, ids.split())) == load_tokenizer(Path(out)).encode(text.decode())
    assert call("decode", out, given=ids) == text


def test_text_files_and_flags_encode_the_same(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--text``、``--file`` 与 ``--readable`` 给出同样的 id。"""
    (tmp_path / "x.txt").write_text(SAMPLE, encoding="utf-8")
    assert (
        run("encode", saved, "--text", SAMPLE) == run("encode", saved, "--file", tmp_path / "x.txt", "--readable") == 0
    )
    first, second = capsys.readouterr().out.splitlines()
    assert first == second == " ".join(map(str, small().encode(SAMPLE)))


def test_convert_keeps_ids_and_adds_tokens(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """转成三种格式再读回来；``--add`` 添的 token 接在后面。"""
    for format in ("json", "hf", "tiktoken"):
        assert run("convert", saved, tmp_path / f"out.{format}", "--to", format) == 0
        assert load_any(tmp_path / f"out.{format}", "gpt2").symbols == small().symbols
    assert run("convert", saved, tmp_path / "more.json", "--add", "<|user|>", "<|x|>") == 0
    assert load_any(tmp_path / "more.json") == small().with_specials(["<|user|>", "<|x|>"])
    assert "never does" in capsys.readouterr().err


def test_inspect_tells_what_a_vocabulary_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """词表大小、切法、特殊 token 与缺的字节；点名的 token 逐个列出。"""
    (tmp_path / "x.gguf").write_bytes(vocabulary())
    assert run("inspect", tmp_path / "x.gguf", "--ids", "0", "6") == 0
    out = capsys.readouterr().out
    for part in ("smollm", "<|endoftext|> = 0", "missing bytes:   04", "        6  '\\x05'"):
        assert part in out
    assert run("encode", tmp_path / "x.gguf", "--text", "a\x04b") == 0
    assert "1 bytes are not in this vocabulary" in capsys.readouterr().err
    assert run("list") == 0
    assert "cl100k" in capsys.readouterr().out


def test_mistakes_are_three_lines_and_the_right_exit_code(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """用法错是 2，数据错是 4；没有 traceback。"""
    monkeypatch.setenv("ZERO_ONE_LLM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bad.txt").write_bytes(b"ok\n\xff\n")
    (tmp_path / "cut.json").write_text(json.dumps(small().to_json())[:-20])
    cases: list[tuple[int, tuple[str | Path, ...]]] = [
        (4, ("encode", "gpt2", "--text", "x")),
        (4, ("encode", tmp_path / "nope.json", "--text", "x")),
        (4, ("encode", tmp_path / "cut.json", "--text", "x")),
        (4, ("encode", saved, "--file", tmp_path / "bad.txt")),
        (4, ("encode", saved, "--file", tmp_path / "nope.txt")),
        (2, ("encode", saved, "--file", tmp_path / "bad.txt", "--text", "x")),
        (2, ("decode", saved, "--ids", "99999")),
        (2, ("convert", saved, tmp_path / "bad.txt" / "x.json")),
        (2, ("convert", saved, tmp_path / "x.json", "--add", "<|endoftext|>")),
        (2, ("inspect", saved, "--ids", "-1")),
        (2, ("train", "python-docs", "--vocab-size", "100", "--out", tmp_path / "x.json")),
        (2, ("train", "python-docs", "--out", tmp_path / "bad.txt" / "x.json")),
    ]
    for code, argv in cases:
        capsys.readouterr()
        assert run(*argv) == code, argv
        lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("reading")]
        assert len(lines) <= 3, argv
        assert lines[0].startswith("error: "), argv


def test_bad_standard_input_names_the_line(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """不是 UTF-8 的文本、不是数的 id，都说出在第几行。"""
    stdin(monkeypatch, b"ok\nok\n\xff")
    assert run("encode", saved) == 4
    stdin(monkeypatch, b"1 2\n3, x\n")
    assert run("decode", saved) == 4
    assert "standard input:3" in (err := capsys.readouterr().err)
    assert "standard input:2" in err
