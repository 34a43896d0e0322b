"""各领域的样本：量压缩率用的文本，全部不联网、处处相同（Python 自带的除外，它随版本略有出入）。

流入：领域名、语料名或路径；流出：一段文本。下一个文件：``compression.py``。
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from pathlib import Path

import tinygrad_llm.common
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.corpora.sources import documents
from tinygrad_llm.common.errors import DataError

__all__ = ["DOMAINS", "domain_documents", "domain_text", "gather"]

FOLDER = Path(__file__).with_name("passages")
DOMAINS = {
    "english": "一段英文故事",
    "chinese": "一段中文故事",
    "storyworld-en": "生成的英文故事",
    "storyworld-zh": "生成的中文故事",
    "docs": "Python 的语言参考（英文说明文）",
    "docs-zh": "本软件的中文说明",
    "code": "Python 标准库的源码",
    "numbers": "算式、日期与小数",
    "emoji": "夹着表情的短句",
    "languages": "另外十二种语言的同一句话",
}
MAX_CHARACTERS = 200_000
_PASSAGES = ("english", "chinese", "emoji", "languages")
_CORPORA = {"docs": "python-docs", "code": "python-source"}


def gather(names: tuple[str, ...], max_characters: int = MAX_CHARACTERS) -> dict[str, str]:
    """取出几个领域的样本。

    Args:
        names: ``DOMAINS`` 里的名字、语料名或路径；空的表示 ``DOMAINS`` 全部，其中本机没有的略去。
        max_characters: 每个领域至多取开头多少个字符。

    Returns:
        名字到文本。

    Raises:
        UserError: 点了名的既不是领域、语料，也不像路径。
        DataError: 点了名的文本缺失、为空或读不了。
    """
    found: dict[str, str] = {}
    for name in names or DOMAINS:
        try:
            found[name] = domain_text(name, max_characters)
        except DataError:  # 精简的 Python 发行版不带语言参考或源码
            if names:
                raise
    return found


def domain_text(name: str, max_characters: int = MAX_CHARACTERS) -> str:
    """一个领域的样本：开头至多 ``max_characters`` 个字符，各份文档以空行相接；报错同 ``gather``。"""
    texts: list[str] = []
    size = 0
    for text in domain_documents(name):
        texts.append(text)
        size += len(text) + 2
        if size > max_characters:
            break
    return "\n\n".join(texts)[:max_characters]


def domain_documents(name: str) -> Iterator[str]:
    """一个领域的各份文档，逐份读出；报错同 ``gather``。"""
    if name in _PASSAGES:
        yield (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    elif name == "docs-zh":
        yield _docstrings()
    elif name == "numbers":
        yield _numbers()
    else:
        for document in documents(_CORPORA.get(name, name), on_error=Faults(offers_skip=False)):
            yield document.text


def _docstrings() -> str:
    """``tinygrad_llm.common`` 各文件的文档字符串。"""
    root = Path(tinygrad_llm.common.__file__).parent
    found: list[str] = []
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        documented = (node for node in nodes if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef))
        found += [text for node in documented if (text := ast.get_docstring(node))]
    return "\n\n".join(found)


def _numbers() -> str:
    rng = random.Random(0)
    lines: list[str] = []
    for _ in range(300):
        a, b = rng.randint(0, 99_999), rng.randint(1, 999)
        date = f"{rng.randint(1900, 2099)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        lines += [f"{a} + {b} = {a + b}", f"{date} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}", f"{a / b:.4f}"]
    return "\n".join(lines)
