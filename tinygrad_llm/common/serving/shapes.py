"""回答的样子：对话与续写各有一种，各有整份的与逐段的写法。

流入：``Piece`` 与整份的文字；流出：字典，由 ``answers.py`` 写成 JSON。
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from tinygrad_llm.common.serving.drafts import Piece, Scored, scored_json

__all__ = ["ChatShape", "CompletionShape", "Shape", "usage"]


def usage(prompt: int, written: int) -> dict[str, Any]:
    """用掉的 token 数。"""
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


class ChatShape:
    """``/v1/chat/completions``。

    Args:
        model: 模型的名字。
        fingerprint: 引擎与版本。
        has_logprobs: 报对数概率。
    """

    prefix, whole, chunk = "chatcmpl-", "chat.completion", "chat.completion.chunk"

    def __init__(self, model: str, fingerprint: str, *, has_logprobs: bool) -> None:
        self._head = {
            "id": self.prefix + secrets.token_hex(12),
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }
        self._has_logprobs = has_logprobs

    def opening(self, index: int) -> list[dict[str, Any]]:
        """逐段的头一段；没有则为空。"""
        return [self._chunk(index, {"role": "assistant", "content": ""}, (), "")]

    def piece(self, index: int, piece: Piece) -> list[dict[str, Any]]:
        """逐段的一段或两段：文字，与到此为止。"""
        delta: dict[str, Any] = {"content": piece.text} if piece.text or not piece.finish else {}
        if piece.call is not None:
            delta = {"tool_calls": [{"index": 0, **_call(piece.call)}]}
        found = []
        if delta or piece.scored:
            found.append(self._chunk(index, delta, piece.scored, ""))
        if piece.finish:
            found.append(self._chunk(index, {}, (), piece.finish))
        return found

    def closing(self, used: dict[str, Any]) -> dict[str, Any]:
        """末尾报 token 数的一段。"""
        return {**self._head, "object": self.chunk, "choices": [], "usage": used}

    def choice(self, index: int, text: str, pieces: Sequence[Piece]) -> dict[str, Any]:
        """整份回答里的一份。"""
        call = pieces[-1].call
        message: dict[str, Any] = {"role": "assistant", "content": None if call else text, "refusal": None}
        if call:
            message["tool_calls"] = [_call(call)]
        scored = [one for piece in pieces for one in piece.scored]
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(scored),
            "finish_reason": pieces[-1].finish,
        }

    def document(self, choices: list[dict[str, Any]], used: dict[str, Any]) -> dict[str, Any]:
        """整份回答。"""
        return {**self._head, "object": self.whole, "choices": choices, "usage": used}

    def _chunk(self, index: int, delta: dict[str, Any], scored: Sequence[Scored], finish: str) -> dict[str, Any]:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": self._logprobs(scored) if scored else None,
            "finish_reason": finish or None,
        }
        return {**self._head, "object": self.chunk, "choices": [choice]}

    def _logprobs(self, scored: Sequence[Scored]) -> dict[str, Any] | None:
        if not self._has_logprobs:
            return None
        return {"content": [scored_json(one) for one in scored], "refusal": None}


class CompletionShape(ChatShape):
    """``/v1/completions``；参数同 ``ChatShape``，另有放在回答之前的开头。"""

    prefix, whole, chunk = "cmpl-", "text_completion", "text_completion"

    def __init__(
        self, model: str, fingerprint: str, *, has_logprobs: bool, echoed: Sequence[str] = (), copies: int = 1
    ) -> None:
        super().__init__(model, fingerprint, has_logprobs=has_logprobs)
        self._echoed, self._copies = echoed, copies

    def opening(self, index: int) -> list[dict[str, Any]]:
        """要了开头就先给它。"""
        return [self._part(index, self._echo(index), (), "")] if self._echoed else []

    def piece(self, index: int, piece: Piece) -> list[dict[str, Any]]:
        """逐段的一段。"""
        return [self._part(index, piece.text, piece.scored, piece.finish)]

    def choice(self, index: int, text: str, pieces: Sequence[Piece]) -> dict[str, Any]:
        """整份回答里的一份。"""
        scored = [one for piece in pieces for one in piece.scored]
        part: dict[str, Any] = self._part(index, self._echo(index) + text, scored, pieces[-1].finish)["choices"][0]
        return part

    def _echo(self, index: int) -> str:
        return self._echoed[index // self._copies] if self._echoed else ""

    def _part(self, index: int, text: str, scored: Sequence[Scored], finish: str) -> dict[str, Any]:
        choice = {
            "index": index,
            "text": text,
            "logprobs": self._columns(scored) if self._has_logprobs else None,
            "finish_reason": finish or None,
        }
        return {**self._head, "object": self.chunk, "choices": [choice]}

    def _columns(self, scored: Sequence[Scored]) -> dict[str, Any]:
        return {
            "tokens": [one.token for one in scored],
            "token_logprobs": [max(one.logprob, -9999.0) for one in scored],
            "top_logprobs": [{other.token: max(other.logprob, -9999.0) for other in one.top} for one in scored],
            "text_offset": [one.at for one in scored],
        }


Shape = ChatShape


def _call(call: tuple[str, str]) -> dict[str, Any]:
    name, arguments = call
    function = {"name": name, "arguments": arguments}
    return {"id": "call_" + secrets.token_hex(12), "type": "function", "function": function}
