"""``lm-eval`` 的适配：同样的题，它算出的成绩与我们的相等；整份文档的对数概率与生成也相等。

流入：测试自己写下的任务（YAML 与 JSON lines）；流出：两边的成绩。没有装 ``lm_eval`` 时跳过。
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parity_tests.evaluating.runs import TEXT, make_run
from parity_tests.house.repo import ROOT
from tinygrad_llm.common.evaluation.choosing import score_choice_task
from tinygrad_llm.common.evaluation.items import read_task
from tinygrad_llm.common.evaluation.prompts import Prompter
from tinygrad_llm.common.evaluation.texts import score_texts
from torch_llm.evaluate import open_candidate

pytest.importorskip("lm_eval", reason="lm_eval is not installed: pip install 'zero-one-llm[eval]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # lm_eval 与它带来的库各有各的警告

_TASK = """\
task: our_quiz
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: options
doc_to_target: answer
metric_list:
  - metric: acc
  - metric: acc_norm
"""
_SCRIPT = """\
import json, sys
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from torch_llm.lm_eval_adapter import ZeroOneLM

run, folder = sys.argv[1:]
manager = TaskManager(include_path=folder, include_defaults=False)
found = simple_evaluate(ZeroOneLM(run), tasks=["our_quiz"], task_manager=manager, bootstrap_iters=0, log_samples=True)
rows = [[one["doc_id"], one["resps"], one["acc"], one["acc_norm"]] for one in found["samples"]["our_quiz"]]
print("RESULT" + json.dumps([found["results"]["our_quiz"], sorted(rows)]))
"""


def quiz(folder: Path, count: int = 24) -> Path:
    """一份选择题；选项长短不一，三种比法才选得不同。"""
    words = TEXT.split("。")[0].replace(".", "").replace(",", "").split()
    items = [
        {
            "prompt": " ".join(words[i % 9 : i % 9 + 4]),
            "options": [" ".join(words[(i * j) % 13 : (i * j) % 13 + j]) for j in (1, 2, 4, 5)],
            "answer": i % 4,
        }
        for i in range(count)
    ]
    path = folder / "quiz.jsonl"
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    return path


def test_multiple_choice_scores_differ_from_lm_eval(tmp_path: Path) -> None:
    """同一份选择题，``lm_eval`` 经适配算出的正确率或对数似然与我们的不同。"""
    run, path = make_run(tmp_path / "run"), quiz(tmp_path)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "our_quiz.yaml").write_text(_TASK.format(path=path), encoding="utf-8")
    (tmp_path / "script.py").write_text(_SCRIPT, encoding="utf-8")
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"), "1")
    env = {**os.environ, **offline, "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-W", "ignore", str(tmp_path / "script.py"), str(run), str(tmp_path / "tasks")]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    results, rows = json.loads(done.stdout.split("RESULT")[1])
    candidate = open_candidate(run)
    ours = score_choice_task(read_task(path), candidate, Prompter(candidate.tokenizer))
    assert results["acc,none"] == pytest.approx(ours.correct("sum").mean(), abs=1e-12)
    assert results["acc_norm,none"] == pytest.approx(ours.correct("byte").mean(), abs=1e-12)
    for (_, responses, accuracy, by_byte), logprobs, one, other in zip(
        rows, ours.logprobs, ours.correct("sum"), ours.correct("byte"), strict=True
    ):
        assert [response[0][0] for response in responses] == pytest.approx(list(logprobs), rel=1e-9)
        assert (accuracy, by_byte) == (float(one), float(other))


class _Asked:
    """``lm_eval`` 的一个请求：这里只用得到 ``args``。"""

    def __init__(self, *args: Any) -> None:
        self.args = args


def test_rolling_or_generation_differ_from_ours(tmp_path: Path) -> None:
    """整份文档的对数概率与 ``score_texts`` 的不同，或写出的文字与照样一个一个写的不同。"""
    from torch_llm.lm_eval_adapter import ZeroOneLM

    run = make_run(tmp_path / "run")
    model = ZeroOneLM(str(run), batch_size="auto")
    texts = [TEXT * 4, "Tom."]
    candidate = open_candidate(run)
    context = candidate.likelihood.context
    wanted = [
        -score_texts("t", [text], candidate.tokenizer, candidate.likelihood, stride=context).nats for text in texts
    ]
    assert model.loglikelihood_rolling([_Asked(text) for text in texts]) == pytest.approx(wanted, rel=1e-9)
    asked = [_Asked("The cat", {"until": ["e"], "max_gen_toks": 12}), _Asked(TEXT * 9, {"max_gen_toks": 5})]
    together = model.generate_until(asked)
    assert together == [model.generate_until([one])[0] for one in asked]
    assert "e" not in together[0]
    (total, greedy), (other, _) = model.loglikelihood([_Asked("The cat", " sat"), _Asked("", "The")])
    assert total < 0
    assert other < 0
    assert isinstance(greedy, bool)
