"""对话文件与着色：三种格式读成同样的对话，坏的一行有文件与行号，画出的颜色就是掩码。"""

from __future__ import annotations

import gzip
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tinygrad_llm.common.chat import CHAT_SPECIALS, TEMPLATES, Conversation, Message, render
from tinygrad_llm.common.chat.coloured import chat_chips, chat_page, chat_terminal
from tinygrad_llm.common.chat.command import ShowChatConfig, main
from tinygrad_llm.common.chat.loading import load_conversations
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.tokenizers import Tokenizer

QUESTION = "Name it.\n\n### Input:\n谷"
OWN = {"messages": [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "a\nb"}]}
SHAREGPT = {"conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": "a\nb"}]}
ALPACA = {"instruction": "Name it.", "input": "谷", "output": "a\r\nb"}
EXPECTED = (Message("user", QUESTION), Message("assistant", "a\nb"))
BYTES = Tokenizer([], CHAT_SPECIALS)


def _write(path: Path, *lines: object) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def test_three_formats_read_as_the_same_conversation(tmp_path: Path) -> None:
    """同一次对话写成三种格式，读出来却不同；空行算成了对话。"""
    path = _write(tmp_path / "c.jsonl", OWN, "", SHAREGPT, ALPACA)
    found = list(load_conversations(path))
    assert [one.messages for one in found] == [EXPECTED] * 3
    assert [one.source for one in found] == [f"{path}:1", f"{path}:3", f"{path}:4"]


def test_arrays_and_compressed_files_read_the_same(tmp_path: Path) -> None:
    """整个是一个数组的文件、带 BOM 的文件、压缩的文件，读出来不同。"""
    array = _write(tmp_path / "c.json", json.dumps([OWN, ALPACA], indent=1))
    marked = tmp_path / "bom.json"
    marked.write_bytes(b"\xef\xbb\xbf" + array.read_bytes())
    packed = tmp_path / "c.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps(OWN).encode() + b"\n" + json.dumps(SHAREGPT).encode()))
    for path in (array, marked, packed):
        assert [one.messages for one in load_conversations(path)] == [EXPECTED] * 2


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"messages": [', "malformed JSON at column"),
        ("[" * 100_000, "malformed JSON"),
        ("3", "does not hold a JSON object"),
        ({"text": "a", "id": 1}, "its fields: text, id"),
        ({"messages": "hi"}, '"messages" is not a list'),
        ({"messages": []}, "the conversation is empty"),
        ({"messages": [{"role": "user"}]}, 'message 1 needs the strings "role" and "content"'),
        ({"messages": [{"role": "robot", "content": "a"}]}, "message 1 is from 'robot'"),
        ({"conversations": [{"from": "gpt", "value": "a"}]}, "message 1 is from assistant, expected user"),
        ({"instruction": "a", "output": 3}, '"output" is not a string'),
        ({"instruction": "a", "output": ""}, r"message 2 \(assistant\) is empty"),
    ],
)
def test_a_bad_line_is_named_or_counted(line: Any, problem: str, tmp_path: Path) -> None:
    """坏的一行没有文件与行号，或略过时带走了别的行。"""
    path = _write(tmp_path / "c.jsonl", OWN, line, OWN)
    with pytest.raises(DataError, match=problem) as caught:
        list(load_conversations(path))
    assert caught.value.where == f"{path}:2"
    faults = Faults("skip")
    assert len(list(load_conversations(path, faults))) == 2
    assert sum(faults.counts.values()) == 1


@pytest.mark.parametrize("cut", [True, False])
def test_bad_bytes_and_cut_archives_are_named(cut: bool, tmp_path: Path) -> None:
    """不是 UTF-8 的一行，或截断的压缩文件，引出了 traceback。"""
    good = json.dumps(OWN).encode() + b"\n"
    path = tmp_path / ("c.jsonl.gz" if cut else "c.jsonl")
    path.write_bytes(gzip.compress(good * 50)[:-20] if cut else good + b'{"messages": "\xff"}\n')
    with pytest.raises(DataError, match="cut short" if cut else f"not valid UTF-8 at byte offset {len(good) + 14}"):
        list(load_conversations(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """文件不在，消息里没有它的名字。"""
    with pytest.raises(DataError, match="No such file") as caught:
        list(load_conversations(tmp_path / "none.jsonl"))
    assert caught.value.where == str(tmp_path / "none.jsonl")


# ---- 着色 ----


def _example() -> Conversation:
    return Conversation((Message("system", "S<b>"), Message("user", "问\n<|end|>"), Message("assistant", "答&")))


def test_colours_are_the_mask() -> None:
    """画成「要学」的 token 与掩码不一致，或字对不上。"""
    rendered = render(_example(), BYTES)
    found = chat_chips(rendered, BYTES)
    assert [chip.style in ("trained", "special-trained") for chip in found] == rendered.loss_mask
    assert [chip.style.startswith("special") for chip in found] == [id >= 256 for id in rendered.ids]
    text = "".join(chip.text for chip in found)
    assert text == "<|system|>S<b><|end|><|user|>问◦◦⏎\n<|end|><|end|><|assistant|>答◦◦&<|end|>"
    assert chat_terminal(rendered, BYTES).plain == text.replace("><|user", ">\n<|user").replace("><|assi", ">\n<|assi")
    assert chat_terminal(rendered, BYTES, has_colour=False).plain.endswith("<|assistant|>«答◦◦&<|end|>»")


def test_the_page_shows_every_token_and_escapes_the_text() -> None:
    """网页漏了 token、没有转义用户的文字，或引用了外部的东西。"""
    rendered = render(_example(), BYTES)
    html = chat_page([("talk.jsonl:1", rendered)], BYTES, subtitle="x")
    shown = re.findall(r'class="chip chip-[\w-]+" data-tip="([^"]*)">([^<]*)</span>', html)
    assert "".join(unescape(text) for _, text in shown) == "".join(chip.text for chip in chat_chips(rendered, BYTES))
    assert [int(re.search(r"id (\d+)", tip)[1]) for tip, _ in shown] == rendered.ids  # type: ignore[index]
    assert "<b>" not in html
    assert not re.search(r"(src|href)=|<script|@import|url\(|https?:", html)


def test_show_chat_reports_all_and_shows_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """命令没有给全部对话的统计，没有说略过了什么，或没有写出网页。"""
    path = _write(tmp_path / "c.jsonl", OWN, "oops", SHAREGPT, {"instruction": "a", "output": "b" * 200})
    page = tmp_path / "c.html"
    main(ShowChatConfig(path, count=1, html=page, on_error="skip", max_tokens=60))
    out = capsys.readouterr().out
    tokens = len(render(Conversation(EXPECTED), BYTES).ids)
    assert f"{path}:1: {tokens} tokens, 4 trained" in out.replace("\n", "")
    assert f"2 conversations, {2 * tokens} tokens, 8 trained ({8 / (2 * tokens):.1%}), longest {tokens}" in out
    assert "skipped 1: malformed JSON" in out
    assert "skipped 1: too long" in out
    assert "<|assistant|>" in unescape(page.read_text(encoding="utf-8"))


def test_show_chat_names_an_empty_file(tmp_path: Path) -> None:
    """没有对话的文件，命令却报告成功。"""
    with pytest.raises(DataError, match="no conversations"):
        main(ShowChatConfig(_write(tmp_path / "c.jsonl", ""), template="alpaca"))
    assert set(TEMPLATES) == {"ours", "alpaca", "chatml"}
