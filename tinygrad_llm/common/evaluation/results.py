"""一个模型的全部成绩：逐项量完，收成一个 JSON 写得下的字典。

流入：受测的模型、设置与任务；流出：``examine`` 的字典。下一个文件：``storage.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinygrad_llm.common.cleaning.config import DecontaminateConfig
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.evaluation.answering import AnswerScores, Sampled, score_answer_task
from tinygrad_llm.common.evaluation.choosing import score_choice_task
from tinygrad_llm.common.evaluation.contamination import check_contamination
from tinygrad_llm.common.evaluation.items import Task, read_task
from tinygrad_llm.common.evaluation.judging import Judge, judge_task, rank_interval
from tinygrad_llm.common.evaluation.likelihood import Candidate
from tinygrad_llm.common.evaluation.prompts import Prompter
from tinygrad_llm.common.evaluation.settings import ANSWER_TOKENS, STORY_ITEMS, VALIDATION, EvaluateConfig
from tinygrad_llm.common.evaluation.sources import own_texts, texts_of
from tinygrad_llm.common.evaluation.storage import Result, run_of
from tinygrad_llm.common.evaluation.stories import STORY_TASKS, story_task
from tinygrad_llm.common.evaluation.texts import score_texts
from tinygrad_llm.common.scoring import seed_interval

__all__ = ["examine", "open_tasks"]

_OWN = "run"


def open_tasks(config: EvaluateConfig) -> list[Task]:
    """按设置备好各项任务。

    Raises:
        UserError: 名字不认识，或两项同名。
        DataError: 文件读不了，或不是题。
    """
    found = []
    for name in config.tasks:
        if name in STORY_TASKS:
            found.append(story_task(name, config.limit or STORY_ITEMS))
        elif Path(name).is_file():
            found.append(read_task(Path(name), config.limit, config.shots_from))
        else:
            near = ", ".join(one for one in STORY_TASKS if one.count("-") == 1)
            raise UserError(
                f"unknown task or missing file: {name[:80]!r}", where="--tasks", fix=f"use a file, or {near}"
            )
    names = [task.name for task in found]
    if len(set(names)) < len(names):
        raise UserError("two tasks have the same name", where="--tasks", fix="rename one of the files")
    return found


def text_names(config: EvaluateConfig) -> dict[str, str]:
    """各份文本的名字（路径只留末一段）到它从哪里来；一样也没有点名时，是运行自己的验证文本。

    Raises:
        UserError: 两份同名。
    """
    sources = config.data or (() if config.tasks else (VALIDATION,))
    found = {Path(source).resolve().name if Path(source).exists() else source: source for source in sources}
    if len(found) < len(sources):
        raise UserError("two texts have the same name", where="--data", fix="rename one of the files")
    return found


def examine(
    candidate: Candidate,
    config: EvaluateConfig,
    tasks: Iterable[Task],
    judge: Judge | None,
    note: Callable[[str], None],
) -> Result:
    """把一个模型的各项都量完。

    Args:
        candidate: 受测的模型。
        config: 设置。
        tasks: 任务。
        judge: 给自由作答的回答打分的裁判；``None`` 不请。
        note: 每量完一项，说一句。

    Returns:
        成绩。

    Raises:
        UserError: 设置与模型不合。
        DataError: 文本缺失或坏了。
    """
    from tinygrad_llm.common.evaluation.printing import text_line, trait_line  # 印的话由成绩的字典写成

    run, step = run_of(candidate.folder), int(candidate.state.get("step", 0))
    result: Result = {
        "run": run.resolve().name, "folder": str(run), "step": step, **candidate.facts,
        "settings": candidate.state.get("settings") or {}, "texts": {}, "tasks": {},
    }  # fmt: skip
    for name, source in text_names(config).items():
        is_own = source == VALIDATION
        texts = (
            own_texts(candidate.state, str(run), "val", config.limit)
            if is_own
            else texts_of(source, config.field, config.limit)
        )
        score = score_texts(
            name, texts, candidate.tokenizer, candidate.likelihood, stride=config.stride,
            batch_size=config.batch_size, is_packed=config.packed,
        )  # fmt: skip
        result["texts"][name] = {"source": source, **score.to_json()}
        note(text_line(name, result["texts"][name]))
    for task in tasks:
        result["tasks"][task.name] = _task_result(task, candidate, config, judge)
        note(trait_line(task.name, result["tasks"][task.name]))
    return result


def _task_result(task: Task, candidate: Candidate, config: EvaluateConfig, judge: Judge | None) -> Result:
    prompter = Prompter(candidate.tokenizer, config.shots, config.seed, config.form, config.template, config.bos)
    if task.kind == "judge":
        return judge_task(task, Judge(candidate, config.method, config.batch_size))
    if task.kind == "choice":
        found = score_choice_task(task, candidate, prompter, config.batch_size).to_json(config.normalise)
        if config.seeds > 1:
            found["seeds"] = _seed_spread(task, candidate, prompter, config, found)
    else:
        room = config.max_tokens or min(ANSWER_TOKENS, max(1, candidate.likelihood.context // 2))
        how = Sampled(config.samples, config.sampling_temperature, room, config.seed, config.stop)
        scores = score_answer_task(task, candidate, prompter, how, config.batch_size)
        found = scores.to_json(config.k)
        if judge is not None:
            found["judged"] = _judged(scores, judge)
    found |= {"shots": config.shots, "form": config.form, "template": config.template, "seed": config.seed}
    if config.train_data:
        texts = (text for name in config.train_data for text in _training(name, candidate, config))
        overlap = check_contamination(task, texts, DecontaminateConfig(ngram=config.ngram))
        found["contamination"] = overlap.to_json(np.array(found["items"]["values"]))
    return found


def _seed_spread(task: Task, candidate: Candidate, prompter: Prompter, config: EvaluateConfig, first: Result) -> Result:
    """示例换几个种子，成绩变多少。"""
    values = [first["score"]["raw"]["value"]]
    for seed in range(config.seed + 1, config.seed + config.seeds):
        scores = score_choice_task(task, candidate, replace(prompter, seed=seed), config.batch_size)
        values.append(scores.score(config.normalise).raw.value)
    spread = seed_interval(np.array(values))
    return {"values": values, "mean": spread.value, "low": spread.low, "high": spread.high}


def _judged(scores: AnswerScores, judge: Judge) -> Result:
    """裁判给各题头一个回答的分，与按规则判的对错次序一致吗。"""
    prompts = [item.question for item in scores.task.items for _ in scores.correct[0]]
    responses = [text for row in scores.texts for text in row]
    correct = np.array([one for row in scores.correct for one in row], np.float64)
    found = judge.judge(prompts, responses)
    result: Result = {"judge": str(judge.candidate.folder), "method": judge.method, "mean": float(found.scores.mean())}
    if len(responses) > 1:
        rho = rank_interval(found.scores, correct)
        result["spearman_with_rule"] = {"value": rho.value, "low": rho.low, "high": rho.high, "n": rho.n}
    if found.consistent[1]:
        result["consistency"] = found.consistent[0] / found.consistent[1]
    return result


def _training(name: str, candidate: Candidate, config: EvaluateConfig) -> Iterable[str]:
    if name == _OWN:
        return own_texts(candidate.state, str(candidate.folder), "train")
    return texts_of(name, config.field, split="train")
