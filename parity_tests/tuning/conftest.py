"""工作间与训练的测试相同，另有一个会对话的出发点。"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parity_tests.batches.test_training import shard
from parity_tests.whole_runs.commands import Place, text_of
from parity_tests.whole_runs.conftest import place
from tinygrad_llm.common.chat import CHAT_SPECIALS
from tinygrad_llm.common.tokenizers import train_bpe

__all__ = ["place"]

WORDS = ("cat", "dog", "sun", "sky", "hill", "mat")


@pytest.fixture
def based(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """当前目录里有分片 ``old``、在它上面训练的 ``base``，与 48 条对话 ``chats.jsonl``：说什么就答什么。"""
    monkeypatch.chdir(tmp_path)
    tokenizer = train_bpe(text_of(200), 300, ("<|endoftext|>", *CHAT_SPECIALS))
    shard("old", tokenizer, seed=0)
    done = place.train("torch", "base", data="old", corpus=None, vocab_size=None, context=32, dtype="float64")
    assert done.code == 0, done.err
    chats = [{"instruction": f"say {WORDS[i % 6]} {'now ' * (i % 3)}", "output": WORDS[i % 6]} for i in range(48)]
    Path("chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats), encoding="utf-8")
    return place


@pytest.fixture
def labelled(based: Place) -> Place:
    """六十段文字，两类：含 cat 的与含 dog 的；长短不一。"""
    words = ("cat", "dog")
    rows = [{"text": f"the {words[i % 2]} {'ran ' * (i % 5)}", "label": words[i % 2]} for i in range(60)]
    Path("texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return based
