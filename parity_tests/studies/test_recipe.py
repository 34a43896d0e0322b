"""配方：一条命令从语料到样本，停下再跑就接着走。"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parity_tests.whole_runs.commands import Place
from tinygrad_llm.common.toml import load_toml
from torch_llm.recipe import FOLDER, Recipe, RecipeOptions, main
from torch_llm.recipe_results import block

TINY = """
corpus = "storyworld:40K"
vocab_size = 300
val_fraction = 0.1
prompts = ["", "今天"]

[train]
n_layer = 1
n_embd = 32
n_head = 2
context = 32
batch_size = 4
steps = {steps}
eval_every = 0
sample_every = 0
save_every = 2
sample_tokens = 4
"""


def run(folder: Path, steps: int = 6, run: str = "r") -> Any:
    """跑一份极小的配方；返回 ``recipe.json`` 的内容。"""
    path = folder / "tiny.toml"
    path.write_text(TINY.format(steps=steps), encoding="utf-8")
    main(RecipeOptions(str(path), run=run, runs_dir=str(folder), workers=1))
    return json.loads((folder / run / "recipe.json").read_text(encoding="utf-8"))


def test_recipe_skips_a_step_or_repeats_one(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """各步的结果都在，样本接着各自的开头；再跑一次什么也不重做，数字不变。"""
    found = run(tmp_path)
    assert list(found["steps"]) == ["clean", "tokenizer", "shards", "model", "baseline", "samples"]
    model = found["steps"]["model"]
    assert model["tokens"] == 6 * 4 * 32
    assert 0 < found["steps"]["baseline"]["bits_per_byte"] < model["bits_per_byte"] < 10
    assert found["steps"]["samples"]["texts"][1].startswith("今天")
    for name in ("recipe.md", "recipe.svg", "recipe.png"):
        assert (tmp_path / "r" / name).stat().st_size > 100
    for language in ("en", "zh"):
        assert f"{model['bits_per_byte']:.3f}" in block(found["steps"], language)
    capsys.readouterr()
    assert run(tmp_path) == found
    assert capsys.readouterr().out.count("done before") == 6


def test_recipe_with_other_settings_takes_over_the_folder(place: Place, tmp_path: Path) -> None:
    """换了设置再跑：拒绝；没有这份配方：也说清。"""
    from tinygrad_llm.common.errors import UserError

    run(tmp_path, steps=2)
    with pytest.raises(UserError, match="results of another recipe"):
        run(tmp_path, steps=3)
    with pytest.raises(UserError, match="no such recipe"):
        main(RecipeOptions("novels", runs_dir=str(tmp_path)))


def test_shipped_recipe_is_not_valid() -> None:
    """随包的配方读得出来，设置合法，词表放得下特殊 token。"""
    recipes = sorted(FOLDER.glob("*.toml"))
    assert recipes
    for path in recipes:
        recipe = load_toml(path, Recipe)
        assert recipe.train.model(recipe.vocab_size).context > 0
        assert recipe.train.steps > recipe.train.warmup_steps
