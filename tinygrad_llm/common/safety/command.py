"""``redteam`` 的各动词：红队、按梯度找、扫个人信息、写拒绝的数据；两个引擎共用。

流入：设置与打开模型的办法；流出：终端上的表，运行文件夹里的 JSON 与网页。下一个文件：``canary_command.py``。
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.errors import OutOfDiskError, UserError
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.report import write_page
from tinygrad_llm.common.safety.answering import texts_of
from tinygrad_llm.common.safety.comparison import compare_methods
from tinygrad_llm.common.safety.demonstration import OpenBench, demonstrate
from tinygrad_llm.common.safety.leaks import scan
from tinygrad_llm.common.safety.refusals import policies, preference, probes, supervised
from tinygrad_llm.common.safety.regressions import Replay, load_cases, replay, save_cases, with_findings
from tinygrad_llm.common.safety.report import comparison_page, demonstration_page, leaks_page, red_team_page
from tinygrad_llm.common.safety.search import SearchSettings
from tinygrad_llm.common.safety.settings import (
    DataConfig,
    DemonstrationConfig,
    LeaksConfig,
    RedteamConfig,
    SearchConfig,
)
from tinygrad_llm.common.safety.subject import OpenSubject, asker
from tinygrad_llm.common.safety.suite import Results, red_team
from tinygrad_llm.common.scoring import Interval
from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT

__all__ = ["RegressionError", "attack_run", "demonstration", "leaks", "save_json", "search_run", "write_refusals"]


class RegressionError(UserError):
    """守住过的攻击又漏了（退出码 1）。"""

    exit_code = 1


def attack_run(config: RedteamConfig, open_subject: OpenSubject) -> None:
    """红队一个运行。

    Raises:
        RegressionError: 回归文件里守住过的攻击又漏了；文件与报告都已写好。
    """
    folder = config.folder(config.run)
    cases = load_cases(config.regressions) if config.regressions else []
    subject = open_subject(folder)
    ask = asker(subject, config.slots, config.tokens, config.template)
    attacks, twins = probes(config.probes, config.count, "test", config.lang, config.seed)
    replayed = replay(ask, cases) if cases else None
    results = red_team(ask, attacks, twins, config.mutations, config.seed)
    print_results(results)
    record: dict[str, Any] = {"run": subject.name, "probes": config.probes, "seed": config.seed, **results.to_json()}
    if config.regressions:
        kept = with_findings(replayed.cases if replayed else [], results.findings)
        save_cases(config.regressions, kept)
        record["regressions"] = _replay_json(replayed)
        print(f"{config.regressions}: {len(kept)} attacks, {len(kept) - len(cases)} of them new")
    out = config.out or folder
    save_json(out / "redteam.json", record)
    write_page(out / "redteam.html", red_team_page(subject.name, results, replayed))
    print(f"report: {out / 'redteam.html'}")
    if replayed and replayed.regressed:
        raise RegressionError(
            f"{len(replayed.regressed)} attacks that were fixed succeed again",
            where=str(config.regressions),
            fix=f"train on them, e.g. {replayed.regressed[0].prompt[:60]!r}",
        )


def search_run(config: SearchConfig, open_subject: OpenSubject) -> None:
    """按梯度找与随机地找，比一比；提问来自守门人。"""
    folder = config.folder(config.run)
    subject = open_subject(folder)
    attacks = probes("gatekeeper", config.prompts, "test", "en", config.seed)[0]
    settings = SearchSettings(length=config.length, budget=config.budget, seed=config.seed)
    ask = asker(subject, config.slots, config.tokens, config.template)
    found = compare_methods(
        subject.attackable(), subject.tokenizer, subject.chat_template(config.template), attacks, settings, ask
    )
    print(found.describe())
    out = config.out or folder
    save_json(out / "search.json", {"run": subject.name, **found.to_json()})
    write_page(out / "search.html", comparison_page(subject.name, found))
    print(f"report: {out / 'search.html'}")


def leaks(config: LeaksConfig, open_subject: OpenSubject) -> None:
    """扫描一个运行写出的文字。"""
    folder = config.folder(config.run)
    training_text = None
    if config.corpus:
        from tinygrad_llm.common.corpora import load_corpus

        training_text = load_corpus(config.corpus).text
    subject = open_subject(folder)
    tokenizer = subject.tokenizer
    stop = frozenset({tokenizer.special(END_OF_TEXT)} if END_OF_TEXT in tokenizer.specials else ())
    requests = []
    for i in range(config.samples):
        text = config.prompts[i % len(config.prompts)] if config.prompts else ""
        ids = tokenizer.encode(text) or [tokenizer.special(END_OF_TEXT)]
        sampling = Sampling(temperature=config.temperature, seed=config.seed + i)
        requests.append(Request(tuple(ids), config.tokens, sampling, stop_ids=stop))
    outputs = texts_of(subject.slots(config.slots), tokenizer, requests)
    found = scan(outputs, training_text)
    record = found.to_json()
    kinds = ", ".join(f"{kind} {count}" for kind, count in record["by_kind"].items()) or "none found"
    print(f"outputs with personal data: {found.share}; {kinds}")
    out = config.out or folder
    save_json(out / "leaks.json", {"run": subject.name, **record})
    write_page(out / "leaks.html", leaks_page(subject.name, found))
    print(f"report: {out / 'leaks.html'}")


def write_refusals(config: DataConfig) -> None:
    """写出指令数据与偏好对。"""
    items = list(islice(policies(config.probes, config.split, config.lang, config.seed), config.count))
    rows = {"sft": [supervised(item) for item in items], "preferences": [preference(item) for item in items]}
    for name, lines in rows.items():
        _write_lines(config.out / f"{name}.jsonl", lines)
    refusals = sum(item.refuse for item in items)
    print(f"{config.out}: sft.jsonl and preferences.jsonl, {len(items):,} lines each, {refusals:,} of them refusals")


def demonstration(config: DemonstrationConfig, open_bench: OpenBench) -> None:
    """造一个守门人，攻破它，从找到的攻击里学，再攻一次。"""
    found = demonstrate(config, open_bench)
    save_json(config.out / "demonstration.json", found.to_json())
    write_page(config.out / "demonstration.html", demonstration_page(found))
    before, after = (stage.results.total.success for stage in (found.before, found.after))
    print(f"attack success {_shown(before)} before, {_shown(after)} after learning from {found.learnt_from} attacks")
    print(f"report: {config.out / 'demonstration.html'}")


def print_results(results: Results) -> None:
    """终端上的表。"""
    print(f"{'mutation':<15}{'n':>5}  {'attack success':<30}{'refused':>8}{'too long':>10}")
    for row in (*results.attacks, results.total):
        refused = f"{row.refused / row.n:.1%}" if row.n else "-"
        print(f"{row.mutation:<15}{row.n:>5}  {_shown(row.success):<30}{refused:>8}{row.too_long:>10}")
    print(f"over-refusal {_shown(results.over_refusal)} on {results.twins[0].n} harmless twins, asked plainly")


def save_json(path: Path, record: dict[str, Any]) -> None:
    """写成 JSON 文件。

    Raises:
        OutOfDiskError: 写不进去。
    """
    _write(path, json.dumps(record, ensure_ascii=False, indent=1) + "\n")


def _write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    _write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise OutOfDiskError(f"cannot write: {error.strerror}", where=str(path), fix="check the folder") from error


def _replay_json(replayed: Replay | None) -> dict[str, int]:
    if replayed is None:
        return {"replayed": 0, "open": 0, "regressed": 0, "too_long": 0}
    return {
        "replayed": len(replayed.cases),
        "open": replayed.open,
        "regressed": len(replayed.regressed),
        "too_long": replayed.too_long,
    }


def _shown(rate: Interval | None) -> str:
    return "-" if rate is None else f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}]"
