"""HF 的 ``tokenizer.json``，限于字节级 BPE：读进来，写出去。

流入：JSON；流出：``Tokenizer``，或反过来。切法凭正则的原文认出，认不出的一律拒绝：猜错切法的分词器会悄悄给出别的 id。
``added_tokens`` 都当作特殊 token，正文里出现它们的名字也只是普通的字；``post_processor`` 添的句首句尾归对话模板管。
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tokenizers.assemble import VocabularyFile, from_merges, splits
from tinygrad_llm.common.tokenizers.bpe import Tokenizer
from tinygrad_llm.common.tokenizers.formats_gpt2 import byte_ids, raw_bytes
from tinygrad_llm.common.tokenizers.layout import MISSING
from tinygrad_llm.common.tokenizers.saved import NORMALIZATIONS
from tinygrad_llm.common.tokenizers.split import PATTERNS
from tinygrad_llm.common.tokenizers.symbols import chars_of

__all__ = ["hf_json", "merge_rows", "parse_hf"]

_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _onig(name: str) -> str:
    r"""HF 的正则引擎里的写法：那里 ``{1,3}+`` 不是占有式，所以都去掉。"""
    return re.sub(r"([+*?}])\+", r"\1", PATTERNS[name]).replace(r"\u017f", "\u017f")


_REGEXES = {
    **{_onig(name): name for name in PATTERNS},
    _GPT2: "gpt2",
    _O200K: "o200k",
    _SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _TAIL: "llama3",
    _SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _TAIL: "qwen2",
}
"""正则的原文到切法的名字。"""

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}


def parse_hf(data: dict[str, Any], where: str) -> Tokenizer:
    """由 ``tokenizer.json`` 的内容拼成分词器。

    Raises:
        DataError: 不是字节级 BPE，或内容不合法。
    """
    refuse = _refusal(where)
    model = data.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        raise refuse("the model is not BPE")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(name):
            raise refuse(f"{name} {model[name]!r} is not part of byte-level BPE")
    table, merges = model.get("vocab"), model.get("merges")
    if not isinstance(table, dict) or not isinstance(merges, list) or not all(type(id) is int for id in table.values()):
        raise refuse("the vocabulary or the merges are missing")
    specials = _specials(data.get("added_tokens"), refuse)
    ordinary, others = byte_ids({name: id for name, id in table.items() if name not in specials}, where)
    if others:
        raise refuse(f"token {min(others)[:40]!r} is not written in byte-level characters")
    found = from_merges(
        VocabularyFile(
            ordinary,
            specials,
            _pattern(data.get("pre_tokenizer"), refuse),
            where,
            _normalization(data.get("normalizer"), refuse),
            model.get("ignore_merges") is True,
        ),
        [_merge(one, index, refuse) for index, one in enumerate(merges)],
    )
    if found.missing and model.get("unk_token") is not None:
        raise refuse(f"{len(found.missing)} bytes are missing and would become {model['unk_token']!r}")
    return found


def hf_json(tokenizer: Tokenizer) -> str:
    """写成 HF ``tokenizers`` 读得懂的 JSON，id 处处相同。

    Raises:
        UserError: 特殊 token 的名字恰好也是一个普通 token 的写法，HF 的格式分不开它们。
    """
    layout = tokenizer.layout
    names = {number: chars_of(token) for number, token in enumerate(tokenizer.symbols)}
    vocab = {names[number]: id for number, id in enumerate(layout.symbol_ids) if id != MISSING}
    vocab.update({chars_of(token): id for id, token in layout.unused.items()})
    specials = dict(zip(tokenizer.specials, layout.special_ids, strict=True))
    if both := vocab.keys() & specials.keys():
        raise UserError(f"special token {min(both)!r} is also an ordinary token", fix="write our own JSON instead")
    added = [
        {"id": id, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for name, id in specials.items()
    ]  # fmt: skip
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": bool(layout.odd),
        "vocab": dict(sorted({**vocab, **specials}.items(), key=lambda item: item[1])),
        "merges": merge_rows(tokenizer),
    }  # fmt: skip
    normalizer = {"type": tokenizer.normalization} if tokenizer.normalization else None
    found = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": _pre_tokenizer(tokenizer.pattern), "post_processor": None,
        "decoder": _BYTE_LEVEL, "model": model,
    }  # fmt: skip
    return json.dumps(found, ensure_ascii=False)


# ---- 读 ----

Refuse = Callable[[str], DataError]


def _refusal(where: str) -> Refuse:
    return lambda problem: DataError(problem, where=where, fix="use a tokenizer.json of a byte-level BPE tokenizer")


def _specials(added: object, refuse: Refuse) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in added if isinstance(added, list) else []:
        if not isinstance(one, dict) or not isinstance(one.get("content"), str) or type(one.get("id")) is not int:
            raise refuse("an added token has no content or no id")
        found[one["content"]] = one["id"]
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _merge(one: object, index: int, refuse: Refuse) -> tuple[bytes, bytes]:
    halves = one.split(" ") if isinstance(one, str) else one
    if isinstance(halves, list) and len(halves) == 2 and all(isinstance(half, str) for half in halves):
        left, right = raw_bytes(halves[0]), raw_bytes(halves[1])
        if left and right:
            return left, right
    raise refuse(f"merge {index} is not a pair of tokens")


def _normalization(normalizer: object, refuse: Refuse) -> str:
    if isinstance(normalizer, dict) and normalizer.get("type") == "Sequence":
        steps = normalizer.get("normalizers")
        normalizer = steps[0] if isinstance(steps, list) and len(steps) == 1 else normalizer if steps else None
    if normalizer is None:
        return ""
    kind = normalizer.get("type") if isinstance(normalizer, dict) else None
    if not isinstance(kind, str) or kind not in NORMALIZATIONS:
        raise refuse(f"normalizer {kind!r} is not one of NFC, NFKC")
    return kind


def _pattern(pre_tokenizer: object, refuse: Refuse) -> str:
    steps = pre_tokenizer.get("pretokenizers") if isinstance(pre_tokenizer, dict) else None
    steps = steps if isinstance(steps, list) else [pre_tokenizer]
    if not all(isinstance(step, dict) for step in steps):
        raise refuse("there is no pre_tokenizer")
    last = steps[-1]
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space", True):
        raise refuse("the pre_tokenizer does not end in ByteLevel without a prefix space")
    uses_regex = last.get("use_regex", True)
    if len(steps) == 1 and uses_regex:
        return "gpt2"
    if len(steps) == 2 and uses_regex and steps[0] == _DIGITS:
        return "smollm"
    regex = steps[0].get("pattern", {}).get("Regex") if isinstance(steps[0].get("pattern"), dict) else None
    is_split = steps[0].get("type") == "Split" and steps[0].get("behavior") == "Isolated" and not steps[0].get("invert")
    if len(steps) == 2 and not uses_regex and is_split and isinstance(regex, str) and regex in _REGEXES:
        return _REGEXES[regex]
    raise refuse(f"the way it splits text is not one of {', '.join(PATTERNS)}")


# ---- 写 ----


def _pre_tokenizer(pattern: str) -> dict[str, Any]:
    if pattern == "gpt2":
        return _BYTE_LEVEL
    if pattern == "smollm":
        return {"type": "Sequence", "pretokenizers": [_DIGITS, _BYTE_LEVEL]}
    split = {"type": "Split", "pattern": {"Regex": _onig(pattern)}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, {**_BYTE_LEVEL, "use_regex": False}]}


def merge_rows(tokenizer: Tokenizer) -> list[list[str]]:
    """合并的次序；合并不出的 token 列出全部分法，与按拼成的字节合并相同。"""
    known = {token: number for number, token in enumerate(tokenizer.symbols)}
    rows: list[list[str]] = []
    for number, (left, right) in enumerate(tokenizer.merges, start=256):
        if number in tokenizer.layout.odd:
            rows += [[chars_of(one), chars_of(two)] for one, two in splits(tokenizer.symbols[number], known)]
        else:
            rows.append([chars_of(tokenizer.symbols[left]), chars_of(tokenizer.symbols[right])])
    return rows
