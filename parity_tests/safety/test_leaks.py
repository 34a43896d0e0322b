"""输出里的个人信息与过滤器：埋下的都找得到，干净的不误报，报告自己不泄密。"""

from __future__ import annotations

from pathlib import Path

import pytest

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.safety.canaries import Canary, save_canaries
from tinygrad_llm.common.safety.filters import CanaryFilter, PersonalDataFilter, SecretFilter
from tinygrad_llm.common.safety.leaks import scan
from tinygrad_llm.common.safety.report import leaks_page
from tinygrad_llm.common.serving.filters import holds, load_filter

MAIL = "anna.berg@example.org"
CARD = "4111 1111 1111 1111"
CLEAN = ["The cat sat.", "It is 12:30.", "version 1.2.3.4", "Call me."]


def test_planted_personal_data_is_found() -> None:
    """输出里的邮箱与卡号没有找到，或找到的比有的多。"""
    found = scan([*CLEAN, f"Write to {MAIL} now.", f"{CARD} and {MAIL}"])
    assert sorted((leak.kind, leak.output) for leak in found.leaks) == [("card", 5), ("email", 4), ("email", 5)]
    assert (found.share.value, found.share.n) == (2 / 6, 6)


def test_what_was_copied_from_the_training_text_is_told_apart() -> None:
    """照抄训练文本的与自己编的分不开。"""
    found = scan([f"{MAIL}", "new.one@example.org"], f"the text with {MAIL} in it")
    assert [leak.memorised for leak in found.leaks] == [True, False]
    assert [leak.memorised for leak in scan([MAIL]).leaks] == [None]


def test_the_report_does_not_leak() -> None:
    """报告里写着整个号码。"""
    found = scan([f"Write to {MAIL}", CARD])
    for text in (leaks_page("toy", found), str(found.to_json())):
        assert MAIL not in text
        assert CARD not in text


def test_nothing_to_scan_is_an_error() -> None:
    """没有输出也报告一切干净。"""
    with pytest.raises(UserError, match="no output"):
        scan([])
    with pytest.raises(UserError, match="shoe size"):
        scan(["x"], kinds=("shoe size",))


def test_personal_data_is_stopped_or_redacted() -> None:
    """个人信息放了过去，原因里引用了它，或没有抹干净。"""
    gate = PersonalDataFilter()
    assert all(gate.check(text) is None for text in CLEAN)
    reason = gate.check(f"Write to {MAIL}")
    assert reason == "personal data: email"
    assert gate.redact(f"Write to {MAIL}") == "Write to <EMAIL>"
    assert PersonalDataFilter(("card",)).check(MAIL) is None


@pytest.mark.parametrize(
    "text", ["It is velvet.", "V E L V E T", "v-e-l-v-e-t", "tevlev", "\uff56\uff45\uff4c\uff56\uff45\uff54", "VelVet!"]
)
def test_a_secret_word_is_stopped_however_it_is_written(text: str) -> None:
    """换个写法，秘密就过了过滤器。"""
    assert SecretFilter(("velvet",)).check(text) is not None
    assert "velvet" not in str(SecretFilter(("velvet",)).check(text))


def test_harmless_text_passes_the_secret_filter() -> None:
    """不相干的话被拦下。"""
    assert SecretFilter(("velvet",)).check("The tower opens at nine.") is None
    with pytest.raises(UserError):
        SecretFilter(("...",))


def test_the_server_finds_the_filters_by_name(tmp_path: Path) -> None:
    """服务器按名字造不出这几个过滤器，或造出来的不管用。"""
    words, planted = tmp_path / "words.txt", tmp_path / "c.json"
    words.write_text("velvet\n\nmaple\n", encoding="utf-8")
    canary = Canary("The code of the safe of Orla is ", "314", ".", 4)
    save_canaries(planted, [canary])
    stopped = {
        "personal": MAIL,
        "personal:card": CARD,
        f"secrets:{words}": "M A P L E",
        f"canaries:{planted}": canary.text,
    }
    for spec, text in stopped.items():
        gate = load_filter(spec)
        assert gate.check(text) is not None
        assert gate.check("The tower opens at nine.") is None
        assert holds([gate]) >= len(text)
    for spec in ("personal:shoes", f"secrets:{tmp_path}/none", f"canaries:{words}", "secrets:"):
        with pytest.raises(UserError):
            load_filter(spec)


def test_a_recited_canary_is_stopped() -> None:
    """背出来的金丝雀放了过去，或单是号码凑巧相同也被拦下。"""
    gate = CanaryFilter([Canary("The code of the safe of Orla is ", "314", ".", 4)])
    assert gate.check("the code of the safe of orla is  314, she said") is not None
    assert gate.check("314 sheep") is None
    assert CanaryFilter(gate.canaries, whole=False).check("314 sheep") is not None
