"""``evaluate``：逐个打开运行，量完各项，印出来，存下来，写成绩单。

流入：``EvaluateConfig`` 与打开一个运行的函数；流出：终端、JSON 与网页。两个引擎共用。
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from tinygrad_llm.common.errors import OutOfDiskError, UserError
from tinygrad_llm.common.evaluation.card import write_card
from tinygrad_llm.common.evaluation.judging import Judge
from tinygrad_llm.common.evaluation.likelihood import Candidate
from tinygrad_llm.common.evaluation.pairing import compare_results
from tinygrad_llm.common.evaluation.printing import compare_line
from tinygrad_llm.common.evaluation.results import examine, open_tasks
from tinygrad_llm.common.evaluation.settings import EvaluateConfig
from tinygrad_llm.common.evaluation.storage import FOLDER, Result, run_of, save_result
from tinygrad_llm.common.files import write_atomically

__all__ = ["lineage", "run_evaluation"]

Open = Callable[[Path], Candidate]


def run_evaluation(config: EvaluateConfig, open_candidate: Open) -> list[Result]:
    """评测一个或几个运行。

    Args:
        config: 设置。
        open_candidate: 打开一个运行。

    Returns:
        各个运行的成绩，由先到后。

    Raises:
        UserError: 设置不对，或与模型不合。
        DataError: 文本、题目或检查点缺失、坏了。
        OutOfDiskError: 写不进去。
    """
    if config.json is not None and config.json.is_dir():
        raise UserError("this is a folder, a file is wanted", where=f"--json {config.json}", fix="name a file in it")
    folders = [folder for name in config.runs for folder in _with_stages(config.folder_of(name), config.stages)]
    folders = list(dict.fromkeys(folders))
    tasks = open_tasks(config)
    judge = None
    if config.judge:
        judge_folder = EvaluateConfig((config.judge,), config.runs_dir).folder_of(config.judge)
        judge = Judge(open_candidate(judge_folder), config.method, config.batch_size)
    results: list[Result] = []
    for folder in folders:
        candidate = open_candidate(folder)
        facts = candidate.facts
        print(f"{folder} step {candidate.state.get('step', 0)} ({facts['engine']}, {facts['dtype']})", flush=True)
        result = examine(candidate, config, tasks, judge, lambda line: print(line, flush=True))
        save_result(result, folder)
        results.append(result)
    for before, after in pairwise(results):
        print(f"{after['run']} step {after['step']} minus {before['run']} step {before['step']}")
        for row in compare_results(before, after):
            print(compare_line(row))
    if config.json is not None:
        _write_json(config.json, results)
    out = config.out or run_of(folders[-1]) / FOLDER
    print(f"report card: {write_card(results, out)}")
    return results


def _with_stages(folder: Path, stages: bool) -> list[Path]:
    return lineage(folder) if stages else [folder]


def lineage(folder: Path) -> list[Path]:
    """一个运行的来历，由早到晚，末一个是它自己；不在了的前辈略去。

    Args:
        folder: 运行文件夹，或其中的检查点。

    Raises:
        CheckpointError: 检查点坏了。
    """
    from tinygrad_llm.common.checkpoint import read_state, step_folder

    found, seen = [folder], {run_of(folder).resolve()}
    while True:
        source = read_state(found[0]).get("source")
        parent = Path(str(source.get("run", ""))) if isinstance(source, dict) and source.get("run") else None
        if parent is None or parent.resolve() in seen or not (parent / "checkpoints").is_dir():
            return found
        seen.add(parent.resolve())
        kept = parent / "checkpoints" / f"step_{int(source.get('step', 0)):06d}"  # type: ignore[union-attr]
        found.insert(0, kept if kept.is_dir() else step_folder(parent, "latest"))


def _write_json(path: Path, results: list[Result]) -> None:
    rows = [{"first": a["run"], "second": b["run"], "rows": compare_results(a, b)} for a, b in pairwise(results)]
    text = json.dumps({"results": results, "comparisons": rows}, ensure_ascii=False, indent=1) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise OutOfDiskError(
            f"cannot write the results: {error.strerror}", where=str(path), fix="check --json"
        ) from error
