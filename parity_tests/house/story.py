"""README 里故事配方的结果：用时、bits per byte、曲线与样本，都出自一次真正的运行。

流入：``python -m torch_llm recipe storyworld`` 写下的文件夹；流出：随仓库保存的 ``torch_llm/recipes/storyworld.json``
与曲线，以及两份 README 里 ``<!-- story -->`` 标记之间的文字。
用法：``python -m parity_tests.house.story runs/storyworld``；不带参数时，由保存着的结果重写两份 README。
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from parity_tests.house.repo import READMES, ROOT, write_block
from torch_llm.recipe_results import block

__all__ = ["RESULT", "expected"]

RESULT = ROOT / "torch_llm" / "recipes" / "storyworld.json"
CURVE = RESULT.with_suffix(".svg")
_LANGUAGE = {"README.md": "en", "README.zh-CN.md": "zh"}
_WHERE = {
    "en": "It ends by printing its time, its bits per byte beside a 5-gram model's, and samples in both languages; "
    "they stay in `runs/storyworld/recipe.md`.\n",
    "zh": "末尾印出用时、bits per byte（旁边是 5-gram 模型的）与两种语言的样本；"
    "它们都留在 `runs/storyworld/recipe.md`。\n",
}
_ALT = {"en": "Loss against steps", "zh": "损失随步数下降"}


def expected(readme: str) -> str:
    """一份 README 里该有的文字；还没有保存过结果时，只说结果在哪里。"""
    language = _LANGUAGE[readme]
    text = _WHERE[language]
    if RESULT.is_file():
        steps = json.loads(RESULT.read_text(encoding="utf-8"))["steps"]
        text += f"\n{block(steps, language)}\n![{_ALT[language]}]({CURVE.relative_to(ROOT).as_posix()})\n"
    return text.rstrip("\n")


def main() -> None:
    """保存一次运行的结果，重写两份 README。"""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.house.story")
    parser.add_argument("folder", type=Path, nargs="?", help="what the recipe wrote, e.g. runs/storyworld")
    folder = parser.parse_args().folder
    if folder is not None:
        found = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        RESULT.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        shutil.copy(folder / "recipe.svg", CURVE)
    for name in READMES:
        path = ROOT / name
        path.write_text(write_block(path.read_text(encoding="utf-8"), "story", expected(name)), encoding="utf-8")


if __name__ == "__main__":
    main()
