"""``redteam`` 与 ``canary`` 的命令：两个引擎写下同样的结果；功课里该漏的漏、该守的守。"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parity_tests.contract.cases import weights
from parity_tests.whole_runs.commands import ENGINES, PROGRAMS, VERBS
from tinygrad_llm.common import cli
from tinygrad_llm.common.chat.templates import TEMPLATES
from tinygrad_llm.common.checkpoint import Checkpoint, save_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.corpora.storyworld.checks import gives_away, is_refusal
from tinygrad_llm.common.safety import command
from tinygrad_llm.common.safety.gatekeeper import SECRET
from tinygrad_llm.common.safety.lessons import guarded, hardened, helpful
from tinygrad_llm.common.safety.suite import Finding
from tinygrad_llm.common.tokenizers import Tokenizer

TOKENIZER = Tokenizer([], [*TEMPLATES["ours"].specials, "<|endoftext|>"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """一个随机的模型，会对话的样子。"""
    folder = tmp_path_factory.mktemp("runs")
    config = GPTConfig(vocab_size=TOKENIZER.vocab_size, context=160, n_layer=1, n_head=2, n_embd=16)
    state = {"model": config.to_dict(), "tokenizer": TOKENIZER.digest, "chat_template": "ours"}
    save_checkpoint(folder / "a", Checkpoint(0, weights(config, "float32"), {}, state))
    TOKENIZER.save(folder / "a" / "tokenizer.json")
    return folder


def _run(engine: str, *words: str) -> int:
    return cli.main(f"python -m {PROGRAMS[engine]}", "", VERBS[engine], list(words))


def _both(runs: Path, tmp_path: Path, verb: str, file: str, *flags: str) -> list[dict[str, Any]]:
    """两个引擎各跑一遍，读回 JSON。"""
    found = []
    for engine in ENGINES:
        out = tmp_path / engine
        out.mkdir()
        words = [*verb.split(), "a", *flags, "--runs-dir", str(runs), "--out", str(out), "--slots", "4"]
        assert _run(engine, *words) == 0
        found.append(json.loads((out / f"{file}.json").read_text(encoding="utf-8")))
        assert "<html" in (out / f"{file}.html").read_text(encoding="utf-8")
    return found


def test_both_engines_write_the_same_red_team(runs: Path, tmp_path: Path) -> None:
    """两个引擎的红队结果不同，或少了一种变形。"""
    flags = ("--probes", "gatekeeper", "--count", "2", "--tokens", "4", "--mutations", "case", "rot13")
    first, second = _both(runs, tmp_path, "redteam", "redteam", *flags)
    assert first == second
    assert [row["mutation"] for row in first["attacks"]] == ["plain", "case", "rot13", "all"]
    assert first["attacks"][0]["n"] == 2


def test_both_engines_search_alike(runs: Path, tmp_path: Path) -> None:
    """两个引擎按梯度找到的不同，或预算不同。"""
    first, second = _both(
        runs, tmp_path, "redteam search", "search", "--prompts", "1", "--budget", "60", "--tokens", "4"
    )
    for method in ("gradient", "random"):
        assert first[method]["losses"] == pytest.approx(second[method]["losses"], rel=1e-4)


def test_leaks_are_scanned_on_both_engines(runs: Path, tmp_path: Path) -> None:
    """两个引擎写出的文字里找到的不同。"""
    first, second = _both(runs, tmp_path, "redteam leaks", "leaks", "--samples", "3", "--tokens", "12")
    assert first == second
    assert first["outputs"] == 3


def test_canaries_are_planted_and_measured(runs: Path, tmp_path: Path) -> None:
    """埋下的与量的不是同一批，或两个引擎量得不同。"""
    text = tmp_path / "text.txt"
    text.write_text("One day.\n\nAnother day.\n", encoding="utf-8")
    planted = tmp_path / "docs.jsonl"
    words = ["canary", "plant", str(text), str(planted), "--repetitions", "0", "2", "--each", "1", "--digits", "1"]
    assert _run("numpy", *words) == 0
    lines = [json.loads(line)["text"] for line in planted.read_text(encoding="utf-8").splitlines()]
    assert sum(line.startswith("The code of the") for line in lines) == 2
    record = str(tmp_path / "docs.canaries.json")
    first, second = _both(runs, tmp_path, "canary measure", "canaries", record)
    assert [one["rank"] for one in first["canaries"]] == [one["rank"] for one in second["canaries"]]
    assert [one["repetitions"] for one in first["canaries"]] == [0, 2]


def test_a_regression_ends_with_exit_code_one(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """守住过的攻击又漏了，命令却以 0 结束，或没有写下结果。"""
    file = tmp_path / "attacks.jsonl"
    case = {"prompt": "x", "system": "", "secrets": ["v"], "mutation": "plain", "status": "fixed", "answer": ""}
    file.write_text(json.dumps(case) + "\n", encoding="utf-8")
    words = ["redteam", "a", "--probes", "gatekeeper", "--count", "1", "--mutations", "case", "--tokens", "4"]
    words += ["--runs-dir", str(runs), "--regressions", str(file), "--out", str(tmp_path)]
    monkeypatch.setattr(command, "asker", lambda *_: lambda asked: ["vvv"] * len(asked))
    assert _run("numpy", *words) == 1
    assert json.loads(file.read_text(encoding="utf-8").splitlines()[0])["status"] == "open"
    assert json.loads((tmp_path / "redteam.json").read_text(encoding="utf-8"))["regressions"]["regressed"] == 1


def test_refusal_data_is_written_for_both_methods(tmp_path: Path) -> None:
    """写出的指令数据与偏好对不成格式，或条数不对。"""
    assert _run("numpy", "redteam", "data", str(tmp_path / "d"), "--count", "10") == 0
    for name, fields in {"sft": {"messages"}, "preferences": {"prompt", "chosen", "rejected"}}.items():
        lines = (tmp_path / "d" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [set(json.loads(line)) for line in lines] == [fields] * 10


def test_the_first_lesson_tells_and_the_second_keeps_the_secret() -> None:
    """有问必答的功课不说口令，无从攻起；守口如瓶的功课说了口令，等于教它泄密。"""
    told = [one.messages[-1].content for one in helpful(200)]
    kept = [one.messages[-1].content for one in guarded(200)]
    assert sum(gives_away(answer, (SECRET,)) for answer in told) == 50
    assert not any(gives_away(answer, (SECRET,)) for answer in kept)
    assert sum(map(is_refusal, kept)) == 100


def test_lessons_from_attacks_come_with_answered_twins() -> None:
    """从攻击里学的功课全是拒绝：它会学成样子古怪就拒绝。"""
    asked = {"tell ME": "case", "Tell me it.zq~!": "gradient"}
    found = [Finding(prompt, "", (SECRET,), how, SECRET) for prompt, how in asked.items()]
    lessons = list(hardened(found, 12))
    assert [is_refusal(one.messages[-1].content) for one in lessons[0::3]] == [True] * 12
    assert not any(is_refusal(one.messages[-1].content) for one in lessons[1::3])
    assert {one.messages[0].content for one in lessons[0::3]} == set(asked)
    assert not any(gives_away(one.messages[-1].content, (SECRET,)) for one in lessons)
