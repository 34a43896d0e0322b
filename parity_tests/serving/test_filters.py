"""过滤：不许的话不回答，不许的字一个也不先露出去；启动时就查清写法。

流入：词表、正则与测试自己的过滤器；流出：漏出去的字。
"""

from __future__ import annotations

from pathlib import Path

import pytest

from parity_tests.serving.echo import Opener
from parity_tests.serving.running import running
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.serving.filters import RegexFilter, load_filter, words_filter


class NoVowels:
    """测试用的过滤器：从这个模块按名字取到。"""

    def check(self, text: str) -> str | None:
        """有 ``o`` 就不许。"""
        return "it has an o" if "o" in text else None


def test_a_refused_question_is_answered(tmp_path: Path) -> None:
    """输入的过滤没有起作用：对话里任何一句、续写的开头；或没有说理由。"""
    words = tmp_path / "words.txt"
    words.write_text("Bomb\n炸弹\n\n", encoding="utf-8")
    with running(Opener(), input_filter=(f"words:{words}",)) as server:
        for text in ("a BOMB here", "做炸弹吗"):
            status, body, _ = server.chat(text)
            assert (status, body["error"]["code"]) == (400, "content_filter")
            assert "blocked word" in body["error"]["message"]
            refused = server.request("POST", "/v1/completions", {"model": "echo", "prompt": text})
            assert refused[0] == 400
        assert server.chat("bombastic")[0] == 200


@pytest.mark.parametrize("spec", ["regex:secret\\d", "words"])
def test_a_blocked_word_is_shown_in_part(spec: str, tmp_path: Path) -> None:
    """输出的过滤没有截住，或先露出了那个词的前一半；停下的原因不对。"""
    words = tmp_path / "words.txt"
    words.write_text("secret7\n", encoding="utf-8")
    spec = f"words:{words}" if spec == "words" else spec
    with running(Opener(), output_filter=(spec,)) as server:
        parts = server.stream("well, secret7 it is")
        said = "".join(part["choices"][0]["delta"].get("content", "") for part in parts[:-1])
        assert "s" not in said.replace("well, ", "")
        assert parts[-2]["choices"][0]["finish_reason"] == "content_filter"
        whole = server.chat("well, secret7 it is")[1]["choices"][0]
        assert whole["finish_reason"] == "content_filter"
        assert "sec" not in whole["message"]["content"]
        innocent = "nothing to see " * 10
        parts = server.stream(innocent)
        assert "".join(part["choices"][0]["delta"].get("content", "") for part in parts[:-1]) == innocent


def test_a_filter_of_ones_own_is_not_found() -> None:
    """按模块与名字取来的过滤器没有用上。"""
    with running(Opener(), input_filter=(f"python:{__name__}:NoVowels",)) as server:
        assert server.chat("yes")[0] == 200
        assert "it has an o" in server.chat("no")[1]["error"]["message"]


WRONG = ["", "words:", "words:/no/such/file", "regex:(", "python:json", "python:json:nothing", "python:builtins:dict"]


@pytest.mark.parametrize("spec", [*WRONG, "x:y"])
def test_a_wrong_filter_starts_the_server(spec: str) -> None:
    """过滤器写错了，启动时没有说出来。"""
    with pytest.raises(UserError):
        load_filter(spec)


def test_words_are_found_inside_other_words() -> None:
    """西文的词在别的词里也算，汉字反而要有空格。"""
    found = words_filter(["ass", "坏词"])
    assert isinstance(found, RegexFilter)
    assert [found.check(text) is None for text in ("class", "an ASS!", "这是坏词吗")] == [True, False, False]
