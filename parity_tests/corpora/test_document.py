"""文档：一份不可改写、可以送往别的进程的文本。"""

from __future__ import annotations

import copy
import dataclasses

import pytest

from tinygrad_llm.common.corpora.document import Document


def test_a_document_cannot_be_rewritten_in_place() -> None:
    """各阶段共用同一份文档，谁也不能改掉别人的正文。"""
    document = Document("text", "a.txt:1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        document.text = "other"  # type: ignore[misc]
    assert not hasattr(document, "__dict__")


def test_documents_without_meta_do_not_share_one() -> None:
    """默认的 meta 是各自的空字典。"""
    one, other = Document("a", "x#0"), Document("b", "x#1")
    assert one.meta == {}
    assert one.meta is not other.meta


def test_a_document_travels_to_another_process() -> None:
    """带 slots 的 dataclass 仍能 pickle，清洗的工作进程靠它。"""
    document = Document("中文", "a.jsonl:3", {"label": 1})
    assert copy.deepcopy(document) == document  # 与 pickle 走同一协议
