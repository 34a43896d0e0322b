"""个人信息：邮箱、电话、身份证号、银行卡、IP、IBAN 与密钥，换成写明种类的占位符。

流入：一段文字；流出：抹过的文字与每种抹了几处。校验码在 ``checksums.py``；下一个文件：``stages.py``。

先用便宜的正则找出成串的数字与 @，再在附近核对格式、校验码、号段与前后的字符，所以源代码与文档里的数字很少误伤。
内网、环回与留作示例的 IP 地址不指向任何人，不抹。
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from tinygrad_llm.common.cleaning.checksums import iban_length, is_card, is_chinese_id, is_iban

__all__ = ["PLACEHOLDERS", "found_in", "scrub"]

PLACEHOLDERS = {
    "key": "<KEY>",
    "email": "<EMAIL>",
    "iban": "<IBAN>",
    "id": "<ID>",
    "card": "<CARD>",
    "ip": "<IP>",
    "phone": "<PHONE>",
}
MIN_ENTROPY = 3.0  # 密钥每个字符的信息量，位；英文词约 2.5 至 3

Span = tuple[int, int]

# 一长串数字，可以夹着常见的分隔符；号码都在这样的串里，别处不必找
_NUMBER = re.compile(r"[0-9][0-9 ().+-]{5,}[0-9Xx]")  # 前面的 + 与括号另外补上：以定数开头，正则才找得快
_AT = re.compile(r"@(?=[\w-]{1,63}\.)")
_LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}\Z")
_DOMAIN = re.compile(
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}([A-Za-z]{2,24}|xn--[A-Za-z0-9-]{2,59}|中国|公司|网络)", re.ASCII
)
_TOP_LEVEL = frozenset(
    [
        "com",
        "org",
        "net",
        "edu",
        "gov",
        "mil",
        "int",
        "info",
        "biz",
        "name",
        "pro",
        "aero",
        "asia",
        "cat",
        "coop",
        "jobs",
        "mobi",
        "museum",
        "tel",
        "travel",
        "app",
        "dev",
        "page",
        "blog",
        "cloud",
        "online",
        "site",
        "store",
        "shop",
        "tech",
        "xyz",
        "club",
        "top",
        "wang",
        "ren",
        "vip",
        "work",
        "live",
        "life",
        "news",
        "media",
        "email",
        "world",
        "today",
        "company",
        "agency",
        "solutions",
        "services",
        "systems",
        "network",
        "digital",
        "design",
        "studio",
        "group",
        "team",
        "global",
        "health",
        "care",
        "bank",
        "finance",
        "example",
    ]
)
_IBAN = re.compile(r"[A-Z]{2}\d\d(?: ?[A-Z0-9]){11,30}", re.ASCII)
_CHINESE_ID = re.compile(r"[1-9]\d{16}[\dXx]", re.ASCII)
_CARD = re.compile(r"[1-6](?:\d{11,18}|\d{3}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{3}([ -])\d{6}\2\d{4,5})", re.ASCII)
_IPV4 = re.compile(r"[12]?\d?\d(?:\.[12]?\d?\d){3}", re.ASCII)
_VERSION = re.compile(r"(?:version|release|ver|v|sections?)[.:=\" ]{0,2}\Z", re.I)
_IPV6 = re.compile(r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}")
_INTERNATIONAL = re.compile(
    r"(?:\(\+[1-9]\d{0,3}\)|(?:\+|00)[1-9]\d{0,3})(?:[ .-]?\(0?\d{1,4}\))?(?:[ .-]?\d{1,12}){1,6}", re.ASCII
)
_PHONES = (
    re.compile(r"1[3-9]\d(?:\d{8}|([ -])\d{4}\1\d{4})", re.ASCII),  # 大陆手机
    re.compile(r"\(?0[1-9]\d{1,2}(?:\)[ -]?|[ -])[2-9]\d{6,7}", re.ASCII),  # 大陆座机
    re.compile(r"0[1-9](?:[ .-]\d\d){4}", re.ASCII),  # 法国
    re.compile(r"400[ -]\d{3}[ -]\d{4}", re.ASCII),  # 大陆客服
    re.compile(r"\(?[2-9]\d\d(?:\)[ -]?|[.-])[2-9]\d\d[.-]\d{4}", re.ASCII),  # 北美
)
_EXTENSION = re.compile(r"(?: ?(?:x|ext\.?) ?|转)\d{1,6}", re.ASCII)  # 分机号
_IPV6_WHOLE = re.compile(r"(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}")
_HEX_GROUPS = re.compile(r":[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:")
_KEYS = {  # 几家服务的密钥都有固定的开头
    "AKIA": re.compile(r"AKIA[0-9A-Z]{16}"),
    "ASIA": re.compile(r"ASIA[0-9A-Z]{16}"),
    "AIza": re.compile(r"AIza[0-9A-Za-z_-]{35}"),
    "ghp_": re.compile(r"ghp_[0-9A-Za-z]{36,}"),
    "gho_": re.compile(r"gho_[0-9A-Za-z]{36,}"),
    "ghs_": re.compile(r"ghs_[0-9A-Za-z]{36,}"),
    "github_pat_": re.compile(r"github_pat_[0-9A-Za-z_]{40,}"),
    "glpat-": re.compile(r"glpat-[0-9A-Za-z_-]{20,}"),
    "sk-": re.compile(r"sk-[0-9A-Za-z_-]{20,}"),
    "sk_live_": re.compile(r"sk_live_[0-9A-Za-z]{16,}"),
    "hf_": re.compile(r"hf_[0-9A-Za-z]{30,}"),
    "xox": re.compile(r"xox[abpors]-[0-9A-Za-z-]{20,}"),
    "LTAI": re.compile(r"LTAI[0-9A-Za-z]{12,24}"),
    "eyJ": re.compile(r"eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}"),
    "PRIVATE KEY-----": re.compile(
        r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[\s\S]{1,8192}?-----END [A-Z ]*PRIVATE KEY-----"
    ),
}
_QUOTED = re.compile(r"[\"'][0-9A-Za-z+/_.=-]{16,128}[\"']")
_NAMED = re.compile(
    r"(?:api_?-?key|secret|token|passw(?:or)?d|access_?-?key|credential)[\w-]*[\"']?\s*(?:=|:|=>)\s*\Z", re.I
)


def scrub(text: str, kinds: tuple[str, ...]) -> tuple[str, Counter[str]]:
    """抹去个人信息。

    Args:
        text: 任意文字。
        kinds: 抹哪几种，取自 ``PLACEHOLDERS``。

    Returns:
        抹过的文字，与每种抹了几处；再抹一遍不会有任何变化。
    """
    counts: Counter[str] = Counter()
    while found := found_in(text, kinds):  # 抹去一处，邻居的前后文就变了：再看一遍，直到没有
        pieces, place = [], 0
        for start, end, kind in found:
            pieces += [text[place:start], PLACEHOLDERS[kind]]
            place = end
            counts[kind] += 1
        text = "".join(pieces) + text[place:]
    return text, counts


def found_in(text: str, kinds: tuple[str, ...]) -> list[tuple[int, int, str]]:
    """全部要抹的地方（起点、终点、种类），按位置排好，互不重叠；重叠时 ``PLACEHOLDERS`` 里在前的一种优先。"""
    numbers = list(_numbers(text))
    found: list[tuple[int, int, str]] = []
    for kind in PLACEHOLDERS:
        if kind in kinds and (numbers or kind not in _NUMERIC) and _MARK.get(kind, "") in text:
            new = [(start, end, kind) for start, end in _apart(_FINDERS[kind](text, numbers))]
            found += [one for one in new if not any(one[0] < end and start < one[1] for start, end, _ in found)]
    return sorted(found)


def _numbers(text: str) -> Iterator[Span]:
    """成串的数字，连同紧挨在前面的至多两个 + 与左括号。"""
    last = 0
    for match in _NUMBER.finditer(text):
        start, end = match.span()
        least = max(last, start - 2)
        while start > least and text[start - 1] in "+(":
            start -= 1
        yield start, end
        last = end


def _within(
    pattern: re.Pattern[str], text: str, spans: Sequence[Span], is_real: Callable[[str], bool] = lambda _: True
) -> Iterator[Span]:
    """在几段里依次找出经得起核对的匹配；核对不过的从下一个字符再找，免得吞掉藏在里面的真货。"""
    for place, end in spans:
        while (match := pattern.search(text, place, end)) is not None:
            if _stands_alone(text, *match.span()) and is_real(match[0]):
                yield match.span()
                place = match.end()
            else:
                place = match.start() + 1


def _stands_alone(text: str, start: int, end: int) -> bool:
    """前后都不是西文字母或数字，也不是某个更长数字的一截；中文可以紧挨着。"""
    before, after = text[start - 1 : start], text[end : end + 1]
    if _is_ascii_word(before) or _is_ascii_word(after):
        return False
    if before and before in ".-+/#" and _is_ascii_word(text[start - 2 : start - 1]):
        return False
    return not (after and after in ".-/" and text[end + 1 : end + 2].isdigit())


def _is_ascii_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def _apart(spans: Iterable[Span]) -> Iterator[Span]:
    """按起点排好，重叠的只留先开始的、更长的。"""
    place = 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= place:
            yield start, end
            place = end


def _emails(text: str, _: Sequence[Span]) -> Iterator[Span]:
    for at in _AT.finditer(text):
        local = _LOCAL.search(text, max(at.start() - 64, 0), at.start())
        domain = _DOMAIN.match(text, at.end())
        if local is None or domain is None:
            continue
        top = domain[1].lower()
        if len(top) == 2 or top in _TOP_LEVEL or not top.isascii() or top.startswith("xn--"):
            yield local.start(), domain.end()


def _phones(text: str, numbers: Sequence[Span]) -> Iterator[Span]:
    for place, stop in numbers:
        found = [match.span() for pattern in _PHONES for match in pattern.finditer(text, place, stop)]
        for match in _INTERNATIONAL.finditer(text, place, stop):
            end = _international_end(text, *match.span())
            least = 11 if text[match.start()] == "0" else 8
            if sum(map(str.isdigit, text[match.start() : end])) >= least:
                found.append((match.start(), end))
        for start, end in found:
            extension = _EXTENSION.match(text, end)
            end = extension.end() if extension else end
            if _stands_alone(text, start, end):
                yield start, end


def _international_end(text: str, start: int, end: int) -> int:
    """国际号码至多 15 位；吞下了后面的数，就从末尾一组一组地退。"""
    while end > start and sum(map(str.isdigit, text[start:end])) > 15:
        end = max(text.rfind(separator, start, end) for separator in " .-")
    return max(end, start)


def _ibans(text: str, numbers: Sequence[Span]) -> Iterator[Span]:
    """每种 IBAN 都含一长串数字，只看它附近；正则会吞下后面的大写词，所以按国别的长度截断再核对。"""
    for place, stop in numbers:
        for match in _IBAN.finditer(text, max(place - 12, 0), stop + 20):
            end, length = match.start(), iban_length(match[0][:2])
            while length and end < match.end():
                length -= text[end] != " "
                end += 1
            if not length and _stands_alone(text, match.start(), end) and is_iban(text[match.start() : end]):
                yield match.start(), end


def _ips(text: str, numbers: Sequence[Span]) -> Iterator[Span]:
    yield from (span for span in _within(_IPV4, text, numbers, _is_public_ip) if not _is_version(text, span[0]))
    whole = [(0, len(text))]
    if ":" in text:
        yield from _within(_IPV6, text, whole, _is_public_ip)
    if _HEX_GROUPS.search(text):  # 写全八组的，不论开头；两位一组的多半是指纹
        yield from _within(_IPV6_WHOLE, text, whole, lambda found: len(found) > 23 and _is_public_ip(found))


def _is_version(text: str, start: int) -> bool:
    """1.2.3.4 也可能是版本号或章节号。"""
    return _VERSION.search(text, max(start - 12, 0), start) is not None


def _is_public_ip(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _keys(text: str, _: Sequence[Span]) -> Iterator[Span]:
    for mark, pattern in _KEYS.items():
        if mark in text:
            found = (match.span() for match in pattern.finditer(text))
            yield from (span for span in found if not _is_ascii_word(text[span[0] - 1 : span[0]]))
    for match in _QUOTED.finditer(text):
        is_named = _NAMED.search(text, max(match.start() - 40, 0), match.start()) is not None
        if is_named and _looks_random(match[0][1:-1]):
            yield match.start() + 1, match.end() - 1


def _looks_random(value: str) -> bool:
    """字母与数字混杂，且每个字符的信息量够高。"""
    if not any(map(str.isdigit, value)) or not any(map(str.isalpha, value)):
        return False
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values()) >= MIN_ENTROPY


_NUMERIC = ("iban", "id", "card", "phone")
_MARK = {"email": "@"}
_FINDERS: dict[str, Callable[[str, Sequence[Span]], Iterator[Span]]] = {
    "key": _keys,
    "email": _emails,
    "iban": _ibans,
    "id": lambda text, numbers: _within(_CHINESE_ID, text, numbers, is_chinese_id),
    "card": lambda text, numbers: _within(_CARD, text, numbers, is_card),
    "ip": _ips,
    "phone": _phones,
}
