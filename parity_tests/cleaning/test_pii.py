"""个人信息：埋下的找得到，普通文字里不误伤。"""

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.cleaning.measure import personal_data
from parity_tests.cleaning.planted import KINDS, chinese_id, luhn
from tinygrad_llm.common.cleaning.checksums import is_card, is_chinese_id, is_iban
from tinygrad_llm.common.cleaning.config import PII_KINDS
from tinygrad_llm.common.cleaning.pii import scrub
from tinygrad_llm.common.corpora import documents

MIN_FOUND = 0.99
EACH = 400


@pytest.mark.parametrize("kind", KINDS)
def test_planted_personal_data_stays(kind: str) -> None:
    """每种埋四百处，中英文的句子里，至少找到百分之九十九；句子的其余部分不动。"""
    found = personal_data(kind, EACH, shows_missed=True)
    print(f"{kind}: {found:.2%} of {EACH} found")
    assert found >= MIN_FOUND


def test_python_documentation_is_full_of_personal_data() -> None:
    """Python 的文档里没有谁的电话与卡号：打印误伤率；每 MB 至多两处。"""
    counts: Counter[str] = Counter()
    size = 0
    for document in documents("python-docs"):
        counts += scrub(document.text, PII_KINDS)[1]
        size += len(document.text)
    print(f"python-docs: {dict(counts)} in {size / 1e6:.2f} million characters")
    assert counts.total() <= 2 * size / 1e6


@pytest.mark.parametrize(
    "text",
    [
        "3.14159265358979 2026-11-22 12:30:45.123456 1e-12 0x7fff5fbff8a0 1234567890123456789",
        "127.0.0.1 192.168.1.1 10.0.0.8 ::1 fe80::1 2001:db8::1 255.255.255.0",
        "version 1.2.3.4 v2.0.10.1 section 8.2.4.44",
        "x@w.grad a @ b.T @app.route('/x') @pytest.mark.full user@localhost",
        "token = 'abcdefghijklmnopqrstuvwxyz' key='the quick brown fox' ISBN 978-7-302-12345-6 DOI 10.1145/3292500",
        "arr[2000:3000:2] a[::2] 3fff:x 2024:11:22:10 sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "4111111111111112 11010519491231002Y 11010519491331002X GB82WEST12345698765433 1381234567 138123456789",
        "1 + 12345678 = x; range(100, 2000, 300); (555) 12; 2020-2021; 100-200-300; 0.1.2",
    ],
)
def test_ordinary_text_loses_a_number(text: str) -> None:
    """数、日期、版本号、内网地址、切片、校验码不对的号码，一个也不动。"""
    assert scrub(text, PII_KINDS) == (text, Counter())


def test_known_numbers_fail_their_checksum() -> None:
    """标准与各组织公布的样例。"""
    assert is_chinese_id("11010519491231002X")
    assert not is_chinese_id("110105194912310021")
    assert all(is_card(number) for number in ("4111 1111 1111 1111", "378282246310005", "6011111111111117"))
    assert not is_card("4111111111111112")
    assert is_iban("GB82 WEST 1234 5698 7654 32")
    assert is_iban("DE89370400440532013000")
    assert not is_iban("DE89370400440532013001")
    assert luhn("79927398713")


def test_neighbours_hide_personal_data() -> None:
    """紧挨着中文、括号、大写词与别的号码的，也找得到。"""
    text = (
        f"电话13812345678转，身份证{chinese_id(random.Random(1))}。GB82 WEST 1234 5698 7654 32 AND MORE, a@b.cn,c@d.com"
    )
    assert scrub(text, PII_KINDS)[0] == "电话<PHONE>转，身份证<ID>。<IBAN> AND MORE, <EMAIL>,<EMAIL>"
    assert scrub("+44 20 7946 0958 12345", PII_KINDS)[0] == "<PHONE> 12345"


def test_a_named_secret_stays() -> None:
    """没有固定开头的密钥，靠变量名与随机的样子认出。"""
    secret = "aZ09" + "bY18cX27dW36eV45"
    assert scrub(f'api_key = "{secret}"', PII_KINDS)[0] == 'api_key = "<KEY>"'
    assert scrub(json.dumps({"client_secret": secret}), PII_KINDS)[0] == '{"client_secret": "<KEY>"}'
    assert scrub(f'colour = "{secret}"', PII_KINDS)[0] == f'colour = "{secret}"'


def test_kinds_left_out_are_scrubbed() -> None:
    """只抹要抹的几种。"""
    assert scrub("a@b.cn 13812345678", ("email",)) == ("<EMAIL> 13812345678", Counter(email=1))


PIECES = st.sampled_from(
    ["+86", "13812345678", "@", "a.com", ".", "-", "/", " ", "8.8.8.8", "(", ")", "1", "中", "sk-" + "aB3" * 9]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_scrubbing_twice_changes_the_text(text: str) -> None:
    """抹过的文字再抹一遍不变。"""
    once = scrub(text, PII_KINDS)[0]
    assert scrub(once, PII_KINDS) == (once, Counter())


@pytest.mark.full
def test_the_standard_library_is_full_of_personal_data() -> None:
    """标准库的源码里，除了作者的邮箱，每 MB 至多两处误伤。"""
    counts: Counter[str] = Counter()
    size = 0
    for document in documents("python-source"):
        counts += scrub(document.text, PII_KINDS)[1]
        size += len(document.text)
    print(f"python-source: {dict(counts)} in {size / 1e6:.1f} million characters")
    assert counts.total() - counts["email"] <= 2 * size / 1e6
