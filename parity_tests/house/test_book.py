"""章节正文的写法：标题、引言、代码块、图表与引用、中西文之间的空格。

流入：``examples/*/README.md`` 与中文文档；流出：不合写法的「文件: 问题」。
规则的说明在 ``CODING_STANDARDS.md`` 第 9 节。
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from parity_tests.house import chapters
from parity_tests.house.repo import ROOT, entries, relative

_CODE_LINES = 50
_FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)[^)]*\)|<img[^>]*\bsrc=\"([^\"]+)\"")
_TABLE = re.compile(r"(?:^|\n\n)(.*)\n\n?\|.*\|\n\| *:?-")
_CJK = "[\u4e00-\u9fff]"
_TIGHT = re.compile(rf"(?![图表][A-Z][.-]\d){_CJK}[A-Za-z`]|[A-Za-z]{_CJK}|`[^`\n]*`(?={_CJK})")  # 图A.1 是编号，不空格


def _folders() -> list[Path]:
    return [path for path in entries(chapters.EXAMPLES) if path.is_dir()]


def _readmes() -> list[Path]:
    found = [path / "README.md" for path in _folders() if (path / "README.md").is_file()]
    assert found, "nothing to check: no chapter has a README.md yet"
    return found


def _report(problems: dict[Path, list[str]]) -> None:
    lines = [f"{relative(path)}: {one}" for path, found in problems.items() for one in found]
    assert not lines, "\n".join(lines)


def _without_code(text: str) -> str:
    return _FENCE.sub("", text)


def _heading_problems(text: str) -> Iterator[str]:
    """标题应依次编号（1、1.1、1.2、2 …），至多三级，没有落单的三级标题。"""
    found = [(len(marks), title) for marks, title in _HEADING.findall(_without_code(text))]
    section, subsections = 0, [0]
    for level, title in found[1:]:
        if level == 2:
            section += 1
            subsections.append(0)
            expected = f"{section} "
        elif level == 3:
            subsections[-1] += 1
            expected = f"{section}.{subsections[-1]} "
        else:
            yield f"heading of level {level}: {title}"
            continue
        if not title.startswith(expected):
            yield f"heading {title!r} should start with {expected!r}"
    yield from (f"section {number} has a single subsection" for number, count in enumerate(subsections) if count == 1)


def _opening_problems(text: str) -> Iterator[str]:
    """章标题之后应先有一段引言。"""
    following = [line for line in text.splitlines()[1:] if line.strip()]
    if not following or following[0].startswith("#"):
        yield "no opening paragraph below the title"


def _code_problems(text: str) -> Iterator[str]:
    """代码块应标明语言，且不超过 50 行。"""
    for language, body in _FENCE.findall(text):
        lines = body.count("\n")
        if not language.strip() or lines > _CODE_LINES:
            yield f"code block ({language.strip() or 'no language'}, {lines} lines): {body.strip()[:40]!r}"


def _figure_problems(text: str, folder: Path) -> Iterator[str]:
    """图应存在、下方有图题、正文里提到；表应上方有表题、正文里提到。"""
    prose = _without_code(text)
    for found in _IMAGE.finditer(prose):
        path, below = found[1] or found[2], prose[found.end() : found.end() + 200]
        caption = re.search(r"图[\dA-Z]+\.\d+", below)
        if not (folder / path).is_file():
            yield f"image does not exist: {path}"
        if caption is None or prose.count(caption[0]) < 2:
            yield f"image has no caption below it, or the text never mentions it: {path}"
    for above in _TABLE.findall(prose):
        caption = re.search(r"表[\dA-Z]+-\d+", above)
        if caption is None or prose.count(caption[0]) < 2:
            yield f"table has no caption above it, or the text never mentions it: {above[:40]!r}"


def _spacing_problems(text: str) -> Iterator[str]:
    """汉字与英文、汉字与反引号之间应空一格。"""
    prose = re.sub(r"\$[^$\n]*\$|\]\([^)]*\)|<[^>]*>", "", _without_code(text))
    for line in prose.splitlines():
        # 行内代码里的汉字不受约束，先把代码换成等价的占位。
        bare = re.sub(r"`[^`]*`", "`x`", line)
        yield from (
            f"needs a space: {bare[max(0, one.start() - 8) : one.end() + 8]!r}" for one in _TIGHT.finditer(bare)
        )


def test_every_folder_is_a_planned_chapter() -> None:
    """examples/ 下出现了清单之外的目录：进度表里不会有它。"""
    planned = {chapter.folder for chapter in chapters.CHAPTERS}
    assert {path.name for path in _folders()} <= planned


def test_titles_carry_the_chapter_number() -> None:
    """章 README 的一级标题与清单的章号不符。"""
    labels = {chapter.folder: chapter.label for chapter in chapters.CHAPTERS}
    titles = {path.parent.name: path.read_text(encoding="utf-8").partition("\n")[0] for path in _readmes()}
    wrong = {folder: title for folder, title in titles.items() if not title.startswith(f"# {labels[folder]} ")}
    assert not wrong


def test_headings_are_numbered_and_at_most_three_levels_deep() -> None:
    """章节的小标题编号不连续、超过三级，或三级标题落单。"""
    _report({path: list(_heading_problems(path.read_text(encoding="utf-8"))) for path in _readmes()})


def test_chapters_open_with_a_paragraph() -> None:
    """章标题之后没有引言。"""
    _report({path: list(_opening_problems(path.read_text(encoding="utf-8"))) for path in _readmes()})


def test_code_blocks_are_short_and_name_their_language() -> None:
    """代码块过长，或没有标明语言。"""
    _report({path: list(_code_problems(path.read_text(encoding="utf-8"))) for path in _readmes()})


def test_figures_and_tables_are_captioned_and_cited() -> None:
    """图或表不存在、没有题注，或正文从不提到它。"""
    _report({path: list(_figure_problems(path.read_text(encoding="utf-8"), path.parent)) for path in _readmes()})


def test_chinese_and_english_are_set_apart() -> None:
    """中文文档里汉字与英文或代码之间少了空格。"""
    documents = [ROOT / "README.zh-CN.md", ROOT / "CODING_STANDARDS.md", *_readmes()]
    _report({path: list(_spacing_problems(path.read_text(encoding="utf-8"))) for path in documents})


_GOOD = """# 第六章 预训练

我们训练一个 `GPT`，见图6.1 与表6-1。

## 1 数据

### 1.1 来源

### 1.2 切分

表6-1 语料

| 名字 | 大小 |
| :--- | :--- |

## 2 训练

![损失](loss.svg)

图6.1 损失曲线
"""


def _problems(text: str, folder: Path) -> list[str]:
    found = [*_heading_problems(text), *_opening_problems(text), *_code_problems(text)]
    return [*found, *_figure_problems(text, folder), *_spacing_problems(text)]


def test_the_check_accepts_a_chapter_that_follows_the_rules(tmp_path: Path) -> None:
    """检查器自身：合乎写法的一章没有问题。"""
    (tmp_path / "loss.svg").write_text("<svg/>", encoding="utf-8")
    assert _problems(_GOOD, tmp_path) == []


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("## 2 训练", "## 3 训练"),
        ("### 1.2 切分", ""),
        ("### 1.2 切分", "#### 1.2.1 切分"),
        ("我们训练一个 `GPT`，见图6.1 与表6-1。", ""),
        ("我们训练", "```\nx\n```\n我们训练"),
        ("我们训练", "```python\n" + "x\n" * 51 + "```\n我们训练"),
        ("一个 `GPT`", "一个`GPT`"),
        ("`GPT`，", "`GPT`了，"),
        ("一个 `GPT`", "一个GPT"),
        ("见图6.1", "见下图"),
        ("表6-1 语料", "语料"),
        ("(loss.svg)", "(lost.svg)"),
    ],
)
def test_the_check_refuses_each_broken_rule(tmp_path: Path, good: str, bad: str) -> None:
    """检查器自身：每违反一条写法就报告一个问题。"""
    (tmp_path / "loss.svg").write_text("<svg/>", encoding="utf-8")
    assert good in _GOOD
    assert _problems(_GOOD.replace(good, bad, 1), tmp_path)
