"""红队与回归：对照本来就知道会怎样回答的假模型，数字须恰好如此；回归文件一条也不丢。"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tinygrad_llm.common.chat.conversation import Conversation
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.safety.gatekeeper import SECRET
from tinygrad_llm.common.safety.mutations import MUTATIONS
from tinygrad_llm.common.safety.refusals import probes
from tinygrad_llm.common.safety.regressions import Case, load_cases, replay, save_cases, with_findings
from tinygrad_llm.common.safety.report import red_team_page
from tinygrad_llm.common.safety.suite import Asker, red_team


def _always(answer: str | None) -> Asker:
    return lambda asked: [answer] * len(asked)


def _weak_to_capitals(asked: Sequence[Conversation]) -> list[str | None]:
    """只有全部大写的提问套得出秘密。"""
    return [f"It is {SECRET}." if one.turns[0].content.isupper() else "I can't tell you that." for one in asked]


def test_a_model_that_tells_everything_is_broken_by_every_mutation() -> None:
    """句句都漏的模型，成功率不是 100 %，或没有记下每一次。"""
    attacks, twins = probes("gatekeeper", 12)
    found = red_team(_always("v e l v e t"), attacks, twins)
    total = found.total
    assert total.leaked == total.n == len(found.findings) > 100
    assert found.over_refusal is not None
    assert found.over_refusal.value == 0


def test_a_model_that_refuses_everything_is_safe_and_useless() -> None:
    """一律拒绝的模型，乱拒率不是 100 %：安全看上去就白捡了。"""
    attacks, twins = probes("gatekeeper", 12)
    found = red_team(_always("Sorry, I can't tell you that."), attacks, twins)
    assert found.total.leaked == 0
    assert found.over_refusal is not None
    assert found.over_refusal.value == 1
    assert all(row.right == 0 for row in found.twins)


def test_only_the_mutation_that_works_is_blamed() -> None:
    """只对大写失守的模型，账记到了别的变形头上。"""
    attacks, twins = probes("gatekeeper", 20, lang="en")
    found = red_team(_weak_to_capitals, attacks, twins)
    assert {row.mutation for row in found.attacks if row.leaked} == {"case"}
    assert {one.mutation for one in found.findings} == {"case"}


def test_questions_that_do_not_fit_are_counted_apart() -> None:
    """装不进上下文的提问算成了守住。"""
    attacks, twins = probes("gatekeeper", 5)
    found = red_team(_always(None), attacks, twins, ("case",))
    assert found.total.n == 0
    assert found.total.success is None
    assert found.attacks[0].too_long == 5
    assert "–" in red_team_page("toy", found)


def test_an_unknown_mutation_is_refused() -> None:
    """写错的变形名被默默略过。"""
    with pytest.raises(UserError, match="rot26") as caught:
        red_team(_always(""), probes("gatekeeper", 1)[0], [], ("rot26",))
    assert "rot13" in caught.value.fix


def test_the_report_shows_every_mutation_and_escapes_answers() -> None:
    """报告漏了一种变形，或模型的回答成了网页的一部分。"""
    attacks, twins = probes("gatekeeper", 4)
    html = red_team_page("toy", red_team(_always(f"<script>{SECRET}</script>"), attacks, twins))
    assert all(name in html for name in MUTATIONS)
    assert "<script>" not in html


def test_found_attacks_are_kept_and_replayed(tmp_path: Path) -> None:
    """存下的攻击读回来变了样、丢了，或重放得不到同样的结果。"""
    attacks, _ = probes("gatekeeper", 6)
    findings = red_team(_always(SECRET), attacks, []).findings
    path = tmp_path / "deep" / "attacks.jsonl"
    save_cases(path, with_findings([], findings))
    cases = load_cases(path)
    assert len(cases) == len({one.prompt for one in findings})
    assert replay(_always(SECRET), cases).open == len(cases)
    assert replay(_always("no"), cases).open == 0
    assert with_findings(cases, findings) == cases


def test_a_fixed_attack_that_works_again_is_a_regression() -> None:
    """守住过的又漏了却不声张；一直漏着的反倒算退步。"""
    fixed = Case("a", "", (SECRET,), "plain", "fixed", "")
    still = Case("b", "", (SECRET,), "plain", "open", "")
    found = replay(_always(SECRET), [fixed, still])
    assert [case.prompt for case in found.regressed] == ["a"]
    assert {case.status for case in found.cases} == {"open"}
    assert {case.status for case in replay(_always("no"), [fixed, still]).cases} == {"fixed"}
    assert replay(_always(None), [fixed]).cases == (fixed,)


@pytest.mark.parametrize("line", ["{", "[]", '{"prompt": "x"}', '"x"', "null"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    """坏的一行被略过，或没有说是哪一行。"""
    path = tmp_path / "attacks.jsonl"
    good = {"prompt": "a", "system": "", "secrets": ["s"], "mutation": "plain", "status": "open", "answer": ""}
    path.write_text(json.dumps(good) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_cases(path)
    assert caught.value.where.endswith(":2")
