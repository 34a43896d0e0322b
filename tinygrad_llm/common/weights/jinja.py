"""我们的对话模板写成 Jinja 源码，给别的软件用；反过来，只凭源码的文字辨认，从不执行它。

流入：``chat`` 的 ``Template``；流出：``tokenizer_config.json`` 与 GGUF 里的那段源码，或反过来是模板的名字。
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tinygrad_llm.common.chat import TEMPLATES, Special, Template
from tinygrad_llm.common.chat.conversation import Role
from tinygrad_llm.common.chat.templates import Part
from tinygrad_llm.common.tokenizers import Tokenizer

__all__ = ["chat_template_name", "jinja_of"]


def jinja_of(template: Template) -> str:
    """一个模板的 Jinja 源码；渲染出的文字与 ``chat.render`` 的 id 解码所得相同。"""
    branches = [
        f"{{% {'if' if index == 0 else 'elif'} message['role'] == '{role}' %}}"
        + _turn(template, role, "message['content']")
        for index, role in enumerate(template.turns)
    ]
    body = "".join(branches)
    start = ""
    if template.default_system:
        opening = _turn(template, "system", json.dumps(template.default_system))
        start = f"{{% if loop.first and message['role'] != 'system' %}}{opening}{{% endif %}}"
    asked = _text(template.turns["assistant"].before)
    prompt = f"{{% if add_generation_prompt %}}{asked}{{% endif %}}" if asked else ""
    return f"{{% for message in messages %}}{start}{body}{{% endif %}}{{% endfor %}}{prompt}"


def _turn(template: Template, role: Role, content: str) -> str:
    turn = template.turns[role]
    return _text(turn.before) + f"{{{{ {content} }}}}" + _text((*turn.end, *turn.after))


def _text(parts: Iterable[Part]) -> str:
    """几个零件拼成的字面文字，写成一个 Jinja 表达式：换行都在引号里，不怕被引擎剪掉。"""
    text = "".join(part.name if isinstance(part, Special) else part for part in parts)
    return f"{{{{ {json.dumps(text)} }}}}" if text else ""


def chat_template_name(source: object, tokenizer: Tokenizer | None) -> str:
    """一段 Jinja 源码是我们的哪个模板；不认得，或词表缺它的特殊 token 时为空。

    Args:
        source: 源码；不是文字时视作没有。
        tokenizer: 分词器。
    """
    if not isinstance(source, str) or tokenizer is None:
        return ""
    for template in TEMPLATES.values():
        if set(template.specials) <= set(tokenizer.specials) and _is_same(source, template):
            return template.name
    return ""


def _is_same(source: str, template: Template) -> bool:
    """是我们自己写出的那段；或者（有固定的开场白的）同样的特殊 token 加同样的开场白。"""
    if source == jinja_of(template):
        return True
    words = (*template.specials, template.default_system)
    return bool(template.default_system) and len(template.specials) > 1 and all(word in source for word in words)
