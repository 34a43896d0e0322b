"""第六章：程序都能运行，图写得出来，正文里印的数与程序打印的相符，判分认得出常见的错误。

流入：``examples/ch06_pretraining``；流出：失败的断言。步数都已缩短；与语料有关的数因 Python 版本而异，这里不比。
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tinygrad_llm.common.config import parameter_count, preset
from tinygrad_llm.common.schedule import learning_rate

CHAPTER = Path(__file__).resolve().parents[2] / "examples" / "ch06_pretraining"
README = (CHAPTER / "README.md").read_text(encoding="utf-8")
SOLUTION = (CHAPTER / "exercises" / "solution.py").read_text(encoding="utf-8")


def _load(monkeypatch: pytest.MonkeyPatch, path: str, *argv: str) -> ModuleType:
    """把一个程序作为模块载入，命令行参数已经摆好；测试之后 ``sys.path`` 复原。"""
    file = CHAPTER / path
    monkeypatch.setattr(sys, "path", [str(file.parent), *sys.path])
    monkeypatch.setattr(sys, "argv", [file.name, *argv])
    spec = importlib.util.spec_from_file_location(f"ch06_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclass 与 NamedTuple 要查自己的模块
    spec.loader.exec_module(module)
    return module


def _numbers(text: str) -> list[list[float]]:
    """每行里的全部数字；没有数字的行略去。"""
    found = [[float(one) for one in re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?", line)] for line in text.splitlines()]
    return [row for row in found if row]


def _table(label: str) -> list[list[float]]:
    """正文中某张表里以数字开头的各行。"""
    after = README.split(f"<p>{label} ", 1)[1].split("|\n\n", 1)[0]
    return _numbers("\n".join(re.findall(r"^\| \d.*$", after, re.MULTILINE)))


def _assert_svg(path: Path) -> None:
    assert path.read_text(encoding="utf-8").rstrip().endswith("</svg>")


def test_one_step_follows_the_formula_on_both_engines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """手写的 AdamW 与两个引擎算出的参数不符。"""
    assert _load(monkeypatch, "main/01_one_step.py", "--steps", "2").main() == 0
    out = capsys.readouterr().out
    assert "agrees" in out
    assert "|grad| h.3" in out


def test_initial_losses_in_the_text_are_those_of_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """正文的初始损失表不是程序算出来的，或学习率曲线没有画出来。"""
    module = _load(monkeypatch, "main/02_before_the_first_step.py", "--figures", str(tmp_path))
    monkeypatch.setattr(module, "FACTORS", (1, 4))
    module.main()
    printed = _numbers(capsys.readouterr().out.split("\nstep ")[0])[2:]
    table = _table("表6-2")
    np.testing.assert_allclose(printed, [table[0], table[2]], rtol=2e-3, atol=2e-3)
    _assert_svg(tmp_path / "schedule.svg")


def test_learning_rates_in_the_text_are_right() -> None:
    """正文里写的四个学习率与公式不符。"""
    rates = [
        learning_rate(step, peak=3e-3, minimum=3e-4, warmup_steps=20, total_steps=200) for step in (0, 19, 109, 199)
    ]
    assert "、".join(f"{rate:g}" for rate in rates) in README


def test_parameter_counts_in_the_text_are_right() -> None:
    """正文里写的参数个数不对。"""
    assert f"{parameter_count(preset('toy')):,} 个参数" in README
    assert f"{parameter_count(preset('gpt2')):,} 个参数" in README


def test_two_engines_stay_together_and_the_curves_are_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """头几步的损失已经不同，或曲线没有画出来。"""
    _load(monkeypatch, "main/03_two_engines.py", "--steps", "3", "--figures", str(tmp_path)).main()
    found = re.search(r"largest relative difference (\S+);", capsys.readouterr().out)
    assert found is not None
    assert float(found[1]) < 1e-6
    _assert_svg(tmp_path / "loss_curves.svg")


def test_quickstart_picture_is_drawn_from_the_logs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """图没有画出来，或打印的差不是日志里的差。"""
    for engine, last in (("numpy", 5.0), ("torch", 5.00001)):
        (tmp_path / engine).mkdir()
        records = [{"step": 0, "loss": 6.9}, {"step": 1, "loss": last}, {"step": 1, "val_bits_per_byte": 2.2}]
        text = "".join(json.dumps(record) + "\n" for record in records)
        (tmp_path / engine / "metrics.jsonl").write_text(text, encoding="utf-8")
    module = _load(monkeypatch, "main/04_quickstart_picture.py", str(tmp_path), "--figures", str(tmp_path))
    assert module.main() == 0
    assert "2 steps, largest relative difference 2.0e-06, bit-identical 1" in capsys.readouterr().out
    _assert_svg(tmp_path / "quickstart.svg")


def test_quickstart_picture_says_what_to_run_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """没有日志时抛出了 traceback，或没有说怎样得到日志。"""
    assert _load(monkeypatch, "main/04_quickstart_picture.py", str(tmp_path / "none")).main() == 4
    assert "quickstart" in capsys.readouterr().err


def test_rounding_experiment_separates_the_precisions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """float64 的差没有比 float32 小得多，或图没有画出来。"""
    _load(monkeypatch, "experiments/01_rounding.py", "--steps", "2", "--figures", str(tmp_path)).main()
    gaps = {name: float(gap) for name, gap in re.findall(r"(float\d\d): .* at most (\S+),", capsys.readouterr().out)}
    assert gaps["float64"] < 1e-6 * gaps["float32"]
    _assert_svg(tmp_path / "rounding.svg")


def test_accumulation_experiment_tells_the_two_divisors_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """份额表与正文不符，按 token 加权的梯度有误差，或均值的均值没有误差。"""
    _load(monkeypatch, "experiments/02_accumulation.py", "--steps", "1").main()
    out = capsys.readouterr().out
    assert _numbers(out.split("full rows")[0])[-4:] == _table("表6-6")
    off = [float(value) for value in re.findall(r"off by +(\S+) %", out)]
    right, wrong = off[0::2], off[1::2]
    assert max(right) < 1e-4
    assert wrong[0] < 1e-4
    assert min(wrong[1:]) > 1.0


def test_ablations_cover_every_variant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """有一种做法没有训练，或图没有画出来。"""
    module = _load(monkeypatch, "experiments/03_ablations.py", "--steps", "2", "--figures", str(tmp_path))
    monkeypatch.setattr(module, "SEEDS", (0,))
    monkeypatch.setattr(module, "validation_loss", lambda session, engine: 6.0)
    module.main()
    out = capsys.readouterr().out
    assert all(out.count(name) == len(module.RATES) for name in module.VARIANTS)
    _assert_svg(tmp_path / "ablations.svg")


def test_hand_over_changes_nothing_and_forgetting_the_moments_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """续训不是逐位相同，换引擎差得超过舍入，或丢了矩竟看不出来。"""
    module = _load(monkeypatch, "experiments/04_hand_over.py", "--steps", "4", "--figures", str(tmp_path))
    module.main()
    rows = {line[:12].strip(): line.split() for line in capsys.readouterr().out.splitlines()}
    apart = {name: float(rows[name][-1]) for name in ("resumed", "handed over", "no moments")}
    assert apart["resumed"] == 0
    assert apart["handed over"] < 1e-10
    assert apart["no moments"] > 1e-5
    _assert_svg(tmp_path / "hand_over.svg")


def test_residual_scaling_in_the_text_is_that_of_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """正文的残差缩放表不是程序算出来的，或图没有画出来。"""
    module = _load(monkeypatch, "experiments/05_residual_scaling.py", "--figures", str(tmp_path))
    monkeypatch.setattr(module, "DEPTHS", (4, 16))
    module.main()
    np.testing.assert_allclose(_numbers(capsys.readouterr().out), _table("表6-4")[:4], rtol=5e-3)
    _assert_svg(tmp_path / "residual.svg")


def test_baselines_get_better_with_their_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """n-gram 的每字节比特没有随阶数下降，或均匀分布不是 8。"""
    _load(monkeypatch, "experiments/06_baselines.py").main()
    out = capsys.readouterr().out
    bits = [float(value) for value in re.findall(r"byte \d-gram +(\S+)", out)]
    assert bits == sorted(bits, reverse=True)
    assert "uniform over 256 bytes" in out
    assert bits[0] < 8


def _grade(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: Path) -> tuple[int, str]:
    code = _load(monkeypatch, "exercises/grade.py", str(path)).main()
    return code, capsys.readouterr().out


def test_the_reference_solution_scores_full_marks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """参考答案没有得满分。"""
    code, out = _grade(monkeypatch, capsys, CHAPTER / "exercises" / "solution.py")
    assert (code, out.splitlines()[-1]) == (0, "score: 100/100")


def test_the_empty_exercises_score_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """没有写的练习得了分。"""
    code, out = _grade(monkeypatch, capsys, CHAPTER / "exercises" / "exercise.py")
    assert (code, out.splitlines()[-1]) == (1, "score: 0/100")
    assert out.count("not written yet") == 6


def test_exercises_and_solution_ask_for_the_same_thing() -> None:
    """两份文件里的签名与说明不同：照着练习写，对不上答案。"""
    asked = [
        [(node.name, ast.unparse(node.args), ast.get_docstring(node)) for node in ast.walk(ast.parse(text))
         if isinstance(node, ast.FunctionDef)]
        for text in ((CHAPTER / "exercises" / "exercise.py").read_text(encoding="utf-8"), SOLUTION)
    ]  # fmt: skip
    assert len(asked[0]) == 6
    assert asked[0] == asked[1]


@pytest.mark.parametrize(
    ("right", "wrong", "hint"),
    [
        ("/ math.log(2) / len", "/ len", "divide by ln 2"),
        ('len(text.encode("utf-8"))', "len(text)", "count bytes, not characters"),
        ("nats_per_token * tokens / math", "nats_per_token / math", "forgot to multiply by the number of tokens"),
        ("(step + 1) / warmup_steps", "step / warmup_steps", "use step + 1"),
        ("math.cos(math.pi * progress)", "math.cos(2 * math.pi * progress)", "not 2 pi"),
        (
            "(step - (warmup_steps - 1)) / (total_steps - 1 - (warmup_steps - 1))",
            "step / (total_steps - 1)",
            "not at step 0",
        ),
        ("minimum + (peak - minimum)", "peak", "start from the minimum"),
        ("math.sqrt(sum(float((g * g).sum()) for g in grads))", "sum(float((g * g).sum()) for g in grads)", "root"),
        ("[g * scale for g in grads]", "[g * min(1, max_norm / (g * g).sum() ** 0.5) for g in grads]", "its own norm"),
        ("min(1.0, max_norm / norm)", "max_norm / norm", "must leave the gradients alone"),
        ("], norm\n", "], norm * scale\n", "before clipping"),
        ("max(1, sum(int(mask.sum()) for mask in masks))", "sum(mask.size for mask in masks)", "in the divisor"),
        ("one[mask].sum(axis=0)", "one.sum(axis=0)", "should be"),
        ("(vocab_size + context) * n_embd", "vocab_size * n_embd", "position table"),
        ("(vocab_size + context)", "(2 * vocab_size + context)", "count it once"),
        ("4 * n_embd * n_embd + n_embd\n", "4 * n_embd * n_embd\n", "should be"),
        (" if theta[name].ndim >= 2 else 0.0", "", "biases were decayed"),
        ("m_hat / (np.sqrt(v_hat) + eps)", "m[name] / (np.sqrt(v[name]) + eps)", "no bias correction"),
        ("(np.sqrt(v_hat) + eps)", "np.sqrt(v_hat + eps)", "outside the square root"),
        ("[grad[name] for name in theta], max_norm", "[grad[name] for name in theta], 1e9", "forgot to clip"),
        ("decay = lr * weight_decay", "decay = weight_decay", "scaled by the learning rate"),
        ("m_hat, v_hat = m", "t = 1; m_hat, v_hat = m", "counts from t = 1"),
    ],
)  # fmt: skip
def test_the_grader_names_the_mistake(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    right: str,
    wrong: str,
    hint: str,
) -> None:
    """参考答案里改错一处，判分没有扣分，或没有说中是哪一种错。"""
    assert SOLUTION.count(right) == 1
    path = tmp_path / "answers.py"
    path.write_text(SOLUTION.replace(right, wrong), encoding="utf-8")
    code, out = _grade(monkeypatch, capsys, path)
    assert code == 1
    assert hint in out


def test_the_grader_points_at_the_line_that_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """读者的代码抛出异常，判分没有给出行号，或自己也崩溃了。"""
    path = tmp_path / "answers.py"
    path.write_text("def nats_to_bits_per_byte(*args):\n    return 1 / 0\n", encoding="utf-8")
    code, out = _grade(monkeypatch, capsys, path)
    assert code == 1
    assert "raised ZeroDivisionError at answers.py:2" in out
    assert out.count("the function is missing") == 5
