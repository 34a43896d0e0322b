"""``evaluate`` 命令：两个引擎的成绩相等；存下、合并、逐题相比、成绩单都对；用错了说得清楚。

流入：命令行；流出：退出码、JSON 与网页。
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.evaluating.runs import TEXT, make_run
from parity_tests.evaluating.test_choices import ITEMS, task_file
from tinygrad_llm.common.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tinygrad_llm.common.cli import main
from tinygrad_llm.common.corpora import split_text
from tinygrad_llm.common.evaluation.card import stored_comparison, stored_sections, write_card
from tinygrad_llm.common.evaluation.command import lineage
from tinygrad_llm.common.evaluation.pairing import compare_results, mcnemar
from tinygrad_llm.common.scoring import seed_interval


def evaluate(package: str, *words: str) -> int:
    """命令行上的 ``evaluate``；返回退出码。"""
    verbs = __import__(f"{package}.__main__", fromlist=["VERBS"]).VERBS
    return main(package, "", verbs, ["evaluate", *words])


def inputs(folder: Path) -> list[str]:
    """一份文本，三项任务。"""
    (folder / "text.txt").write_text(TEXT * 12, encoding="utf-8")
    answers: list[dict[str, object]] = [
        {"prompt": "The cat", "answer": "sat"}, {"prompt": "2 + 2 =", "answer": "4", "rule": "number"}
    ]  # fmt: skip
    judged: list[dict[str, object]] = [
        {"prompt": "Who?", "response": text, "label": i} for i, text in enumerate(("Tom", "Mia found it", "a ball"))
    ]
    files = [task_file(folder), task_file(folder, answers, "free"), task_file(folder, judged, "judged")]
    return ["--data", str(folder / "text.txt"), "--tasks", *map(str, files), "--max-tokens", "6"]


def results_of(path: Path) -> list[dict[str, Any]]:
    """``--json`` 写下的成绩。"""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return found


def test_engines_report_different_scores(tmp_path: Path) -> None:
    """同一个运行，两个引擎、两种批大小报出的成绩不同（1e-9）。"""
    run, words = make_run(tmp_path / "run"), inputs(tmp_path)
    found = []
    for package, batch in (("torch_llm", "2"), ("tinygrad_llm", "11")):
        out = tmp_path / f"{package}.json"
        more = ["--train-data", str(tmp_path / "text.txt"), "--samples", "2", "--batch-size", batch]
        assert evaluate(package, str(run), *words, *more, "--json", str(out), "--out", str(tmp_path / package)) == 0
        found.append(results_of(out)[0])
    ours, theirs = ({k: v for k, v in one.items() if k != "engine"} for one in found)
    assert_same(ours, theirs, "result")
    assert {"quiz", "free", "judged"} == set(ours["tasks"])


def assert_same(ours: Any, theirs: Any, where: str) -> None:
    """两棵 JSON 逐叶相同，数到 1e-9。"""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for name in ours:
            assert_same(ours[name], theirs[name], f"{where}.{name}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for i, pair in enumerate(zip(ours, theirs, strict=True)):
            assert_same(*pair, f"{where}[{i}]")
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9, nan_ok=True), where
    else:
        assert ours == theirs, where


def test_score_lacks_chance_interval_or_n(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """终端或 JSON 里的成绩缺了 n、区间、靠猜的成绩或去掉运气之后的成绩。"""
    run = make_run(tmp_path / "run")
    assert evaluate("torch_llm", str(run), *inputs(tmp_path), "--json", str(tmp_path / "out.json")) == 0
    printed = capsys.readouterr().out
    for line in (one for one in printed.splitlines() if one.startswith("  ") and "judged" not in one):
        assert all(word in line for word in ("chance", "centred", "(n = ", "[")), line
    quiz = results_of(tmp_path / "out.json")[0]["tasks"]["quiz"]
    raw = quiz["score"]["raw"]
    assert quiz["score"]["chance"] == pytest.approx(np.mean([1 / 3, 1 / 2, 1 / 2]))
    assert quiz["score"]["centred"] == pytest.approx(
        (raw["value"] - quiz["score"]["chance"]) / (1 - quiz["score"]["chance"])
    )
    assert raw["n"] == 3
    assert raw["low"] <= raw["value"] <= raw["high"]
    assert sum(quiz["calibration"]["counts"]) == 3


def test_second_evaluation_loses_the_first(tmp_path: Path) -> None:
    """分两次量，后一次抹掉了前一次的；权重换了，旧成绩却还留着。"""
    run = make_run(tmp_path / "run")
    words = inputs(tmp_path)
    assert evaluate("torch_llm", str(run), *words[:2]) == 0
    assert evaluate("torch_llm", str(run), "--tasks", words[3]) == 0
    kept = json.loads((run / "evaluation" / "step_000007.json").read_text(encoding="utf-8"))
    assert set(kept["texts"]) == {"text.txt"}
    assert set(kept["tasks"]) == {"quiz"}
    make_run(run, seed=5)
    assert evaluate("torch_llm", str(run), "--tasks", words[3]) == 0
    assert not json.loads((run / "evaluation" / "step_000007.json").read_text(encoding="utf-8"))["texts"]


def descend(child: Path, parent: Path) -> None:
    """记下 ``child`` 由 ``parent`` 而来。"""
    found = load_checkpoint(child)
    save_checkpoint(
        child, Checkpoint(found.step, found.model, {}, {**found.state, "source": {"run": str(parent), "step": 7}})
    )


def test_stages_are_out_of_order_or_uncompared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """三个阶段没有由早到晚排好，或没有逐题相比，成绩单缺了图或表。"""
    runs = [make_run(tmp_path / name, seed) for seed, name in enumerate(("base", "middle", "chat"))]
    descend(runs[1], runs[0])
    descend(runs[2], runs[1])
    assert [one.parent.parent.name if one.parent.name == "checkpoints" else one.name for one in lineage(runs[2])] == [
        "base", "middle", "chat",
    ]  # fmt: skip
    assert evaluate("torch_llm", str(runs[2]), "--stages", *inputs(tmp_path), "--out", str(tmp_path / "card")) == 0
    printed = capsys.readouterr().out
    assert printed.index("middle step 7 minus base step 7") < printed.index("chat step 7 minus middle step 7")
    assert "McNemar" in printed
    page = (tmp_path / "card" / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 5
    for title in ("逐题相比", "校准", "种子之间", "裁判", "作答的样本"):
        assert f"<h2>{title}</h2>" in page
    assert "http" not in page.replace("http-equiv", "")
    assert (tmp_path / "card" / "report.md").is_file()
    assert len(results_of(tmp_path / "card" / "report.json")) == 3


def test_paired_rows_are_wrong() -> None:
    """逐题之差、McNemar 的 p 值与手算的不同；题不同的两份也拿来比了。"""
    first = {"texts": {}, "tasks": {"q": {"kind": "choice", "digest": "d", "items": {"values": [1.0] * 3 + [0.0] * 9}}}}
    values = [0.0] + [1.0] * 8 + [0.0] * 3
    second = {"texts": {}, "tasks": {"q": {"kind": "choice", "digest": "d", "items": {"values": values}}}}
    (row,) = compare_results(first, second)
    assert row["difference"] == pytest.approx(5 / 12)
    assert row["mcnemar"] == pytest.approx(2 * (1 + 7) / 2**7)  # 只有前者对的 1 题，只有后者对的 6 题
    assert row["low"] < row["difference"] < row["high"]
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    second["tasks"]["q"]["digest"] = "other"
    assert not compare_results(first, second)


def test_runs_that_differ_in_their_seed_are_not_pooled(tmp_path: Path) -> None:
    """只有种子不同的几个运行，成绩的平均与 t 区间没有写进成绩单，或算错了。"""
    runs = [make_run(tmp_path / f"s{seed}", seed) for seed in range(3)]
    out = tmp_path / "out.json"
    assert evaluate("torch_llm", *map(str, runs), *inputs(tmp_path)[:2], "--json", str(out)) == 0
    found = results_of(out)
    values = np.array([next(iter(one["texts"].values()))["bits_per_byte"] for one in found])
    spread = seed_interval(values)
    page = write_card(found, tmp_path / "card").read_text(encoding="utf-8")
    assert f"{spread.value:.4f}" in page
    assert f"{spread.low:.4f} 至 {spread.high:.4f}" in page


def test_seeds_of_the_examples_do_not_matter(tmp_path: Path) -> None:
    """``--seeds`` 没有换示例的种子，或平均不是各次的平均。"""
    items: list[dict[str, object]] = [{**ITEMS[0], "prompt": f"{i} The cat sat on the"} for i in range(6)]
    run, path, out = make_run(tmp_path / "run"), task_file(tmp_path, items), tmp_path / "out.json"
    assert (
        evaluate("torch_llm", str(run), "--tasks", str(path), "--shots", "1", "--seeds", "4", "--json", str(out)) == 0
    )
    seeds = results_of(out)[0]["tasks"]["quiz"]["seeds"]
    assert len(seeds["values"]) == 4
    assert seeds["mean"] == pytest.approx(np.mean(seeds["values"]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no such run"),
        (["RUN", "--tasks", "storyworld-poems"], "unknown task or missing file"),
        (["RUN", "--data", "no-such-corpus"], "unknown corpus"),
        (["RUN", "--limit", "0"], "--limit must be at least 1"),
        (["RUN", "--samples", "4", "--temperature", "0"], "--samples above 1"),
        (["RUN", "--k", "3"], "--k must be from 1 to --samples"),
        (["RUN", "--seeds", "3"], "--seeds needs --shots"),
        (["RUN", "--data", "TEXT", "--stride", "49"], "stride"),
        (["RUN", "--tasks", "QUIZ", "--shots", "9"], "examples wanted"),
        (["RUN", "--tasks", "QUIZ", "--template", "ours"], "lacks the special tokens"),
        (["RUN", "--judge", "nobody"], "no such run"),
        (["RUN", "--tasks", "QUIZ", "QUIZ"], "same name"),
    ],
)
def test_misuse_is_unexplained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    """用错了没有报错，或消息说不清错在哪里。"""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    names = {
        "RUN": str(make_run(tmp_path / "run")),
        "QUIZ": str(task_file(tmp_path)),
        "TEXT": str(tmp_path / "text.txt"),
    }
    assert evaluate("torch_llm", *[names.get(word, word) for word in words]) in (2, 4)
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) <= 3


def test_own_validation_text_is_another(tmp_path: Path) -> None:
    """不点名文本时，量的不是运行自己的验证文本；``--train-data run`` 找的不是它的训练文本。"""
    lines = [" ".join(f"w{i}x{k}" for k in range(12)) for i in range(40)]
    text = "".join(f"{line}\n" for line in lines)
    (tmp_path / "corpus.txt").write_text(text, encoding="utf-8")
    run, out = make_run(tmp_path / "run"), tmp_path / "out.json"
    found = load_checkpoint(run)
    settings = {"corpus": str(tmp_path / "corpus.txt"), "val_fraction": 0.25}
    save_checkpoint(run, Checkpoint(found.step, found.model, {}, {**found.state, "settings": settings}))
    assert evaluate("torch_llm", str(run), "--json", str(out)) == 0
    _, validation = split_text(text, 0.25)
    assert results_of(out)[0]["texts"]["validation"]["bytes"] == len(validation.encode())
    items: list[dict[str, object]] = [{"prompt": lines[i], "answer": "."} for i in (1, 39)]
    words = ["--tasks", str(task_file(tmp_path, items)), "--train-data", "run", "--ngram", "8", "--json", str(out)]
    assert evaluate("torch_llm", str(run), *words, "--max-tokens", "2") == 0
    assert results_of(out)[0]["tasks"]["quiz"]["contamination"]["ids"] == ["1"]  # 第 39 条在验证的一份里


def test_a_tuned_run_is_measured_on_its_task_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """练过指令的运行，「自己的验证文本」成了题目文件；来历里最近的文本才是。查训练文本时，题目与文本都要查。"""
    lines = [" ".join(f"w{i}x{k}" for k in range(12)) for i in range(40)]
    for name in ("old", "new"):
        (tmp_path / f"{name}.txt").write_text("".join(f"{name} {line}\n" for line in lines), encoding="utf-8")
    task = {"messages": [{"role": "user", "content": " ".join("abcdefghijkl")}]}
    (tmp_path / "lessons.jsonl").write_text(json.dumps(task) + "\n", encoding="utf-8")
    settings = {name: {"corpus": str(tmp_path / f"{name}.txt"), "val_fraction": 0.25} for name in ("old", "new")}
    settings |= {"sft": {"data": str(tmp_path / "lessons.jsonl")}, "dpo": {"data": "storyworld:preferences:3"}}
    names = ("old", "new", "sft", "dpo")
    for i, name in enumerate(names):
        made = load_checkpoint(make_run(tmp_path / name, i))
        state = {**made.state, "settings": settings[name], "method": {"name": name} if i > 1 else {}}
        if i:
            state["source"] = {"run": str(tmp_path / names[i - 1]), "step": 7, "settings": settings[names[i - 1]]}
        save_checkpoint(tmp_path / name, Checkpoint(made.step, made.model, {}, state))
    _, validation = split_text((tmp_path / "new.txt").read_text(encoding="utf-8"), 0.25)
    out = tmp_path / "out.json"
    items: list[dict[str, object]] = [
        {"prompt": text, "answer": "."} for text in (" ".join("abcdefghijkl"), f"old {lines[1]}", f"old {lines[39]}")
    ]
    quiz = ["--tasks", str(task_file(tmp_path, items)), "--data", "validation", "--train-data", "run", "--ngram", "8"]
    for name, leaked in (("sft", ["1", "2"]), ("dpo", ["2"])):
        assert evaluate("torch_llm", str(tmp_path / name), *quiz, "--max-tokens", "2", "--json", str(out)) == 0
        found = results_of(out)[0]
        assert found["texts"]["validation"]["bytes"] == len(validation.encode())
        assert found["tasks"]["quiz"]["contamination"]["ids"] == leaked
    shutil.rmtree(tmp_path / "dpo" / "checkpoints")
    state = {**made.state, "settings": {"data": "x.jsonl"}, "method": {"name": "sft"}, "source": {}}
    save_checkpoint(tmp_path / "dpo", Checkpoint(made.step, made.model, {}, state))
    assert evaluate("torch_llm", str(tmp_path / "dpo")) == 4
    assert "--data" in capsys.readouterr().err


def test_shards_measure_other_bytes(tmp_path: Path) -> None:
    """分片还原成文字再量，字节数或文档数与原文的不同。"""
    texts = [f"{TEXT.rstrip()} {i}" for i in range(10, 30)]  # 一样长
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "c.jsonl").write_text(lines, encoding="utf-8")
    run, out = make_run(tmp_path / "run"), tmp_path / "out.json"
    verbs = __import__("torch_llm.__main__", fromlist=["VERBS"]).VERBS
    words = ["data", "shard", str(tmp_path / "c.jsonl"), "--tokenizer", str(run / "tokenizer.json")]
    assert main("torch_llm", "", verbs, [*words, "--out", str(tmp_path / "shards"), "--val-fraction", "0.3"]) == 0
    assert evaluate("torch_llm", str(run), "--data", str(tmp_path / "shards"), "--json", str(out)) == 0
    found = results_of(out)[0]["texts"]["shards"]
    assert 0 < found["documents"] < len(texts)
    assert found["bytes"] == len(texts[0].encode()) * found["documents"]


@pytest.mark.parametrize("method", ["verdict", "pairwise"])
def test_judged_answers_lack_their_judge(tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    """请了裁判，成绩里却没有它是谁、给了几分、与规则判的次序是否一致。"""
    run, judge = make_run(tmp_path / "run"), make_run(tmp_path / "judge", 3)
    out, words = tmp_path / "out.json", inputs(tmp_path)
    more = ["--judge", str(judge), "--method", method, "--samples", "3", "--json", str(out)]
    assert evaluate("torch_llm", str(run), "--tasks", words[4], *more) == 0
    judged = results_of(out)[0]["tasks"]["free"]["judged"]
    assert (judged["judge"], judged["method"]) == (str(judge), method)
    assert np.isfinite(judged["mean"])
    assert judged["spearman_with_rule"]["n"] == 6
    assert "rank correlation with the rule" in capsys.readouterr().out
    assert ("consistency" in judged) == (method == "pairwise")


def test_reports_forget_the_evaluation(tmp_path: Path) -> None:
    """评测过的运行，训练报告里没有它的成绩；两个运行的对照里没有逐题相比。"""
    runs = [make_run(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    assert evaluate("torch_llm", *map(str, runs), *inputs(tmp_path)) == 0
    assert next(section.title for section in stored_sections(runs[0])) == "评测：成绩"
    (section,) = stored_comparison(runs[0], runs[1], ["one", "two"])
    assert "quiz" in section.body
    assert not stored_sections(tmp_path)
    assert not stored_comparison(runs[0], tmp_path, ["one", "none"])
