"""校验码：身份证号、银行卡与 IBAN 各自的算法，以及号段与日期是否可能。

流入：一串字符；流出：它是不是一个合法的号码。下一个文件：``pii.py``。
"""

from __future__ import annotations

import datetime

__all__ = ["iban_length", "is_card", "is_chinese_id", "is_iban"]

_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECKS = "10X98765432"
# 各国 IBAN 的总长度（SWIFT IBAN Registry）
_IBAN_LENGTHS = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FI", "FO", "GL", "NL", "SD", "FK"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "XK", "MN"), 20),
    **dict.fromkeys(("CH", "CR", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "TL", "OM", "SO"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("PT", "ST", "LY"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("FR", "GR", "IT", "MC", "MR", "SM", "BI", "DJ"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HU", "LB", "PL", "NI", "SV"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    **dict.fromkeys(("LC",), 32),
    **dict.fromkeys(("RU",), 33),
}


def is_chinese_id(number: str) -> bool:
    """18 位公民身份号码：出生日期存在，校验码对（GB 11643，ISO 7064 MOD 11-2）。

    Args:
        number: 17 位数字与一位校验码。

    Returns:
        是否合法。
    """
    try:
        born = datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number, _ID_WEIGHTS, strict=False))
    return born.year >= 1850 and number[17].upper() == _ID_CHECKS[total % 11]


def is_card(number: str) -> bool:
    """银行卡号：发卡号段与长度可能，Luhn 校验对（ISO/IEC 7812）。

    Args:
        number: 数字，可以夹着空格与短横。

    Returns:
        是否合法。
    """
    digits = [int(char) for char in number if char.isdigit()]
    first = int("".join(map(str, digits[:4])))
    lengths = _card_lengths(first)
    if len(digits) not in lengths or len(set(digits)) < 2:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _card_lengths(first: int) -> tuple[int, ...]:
    """号段（头四位）对应的卡号长度；不是发卡号段则为空。"""
    if first // 1000 == 4:
        return (13, 16, 19)  # Visa
    if 5100 <= first <= 5599 or 2221 <= first <= 2720:
        return (16,)  # Mastercard
    if first // 100 in (34, 37):
        return (15,)  # American Express
    if first // 100 in (36, 38) or 3000 <= first <= 3059:
        return (14,)  # Diners Club
    if first in (1800, 2131):
        return (15,)  # 早年的 JCB
    if first // 100 == 35 or first == 6011 or first // 100 == 65 or 6440 <= first <= 6499:
        return (16, 19)  # JCB、Discover
    if first in (5018, 5020, 5038, 5893, 6304, 6390) or first // 100 in (56, 57, 58, 67):
        return (12, 13, 14, 15, 16, 17, 18, 19)  # Maestro
    if first // 100 == 62:
        return (16, 17, 18, 19)  # 银联
    return ()


def iban_length(country: str) -> int:
    """一国 IBAN 的总长度；不用 IBAN 的国家为 0。"""
    return _IBAN_LENGTHS.get(country, 0)


def is_iban(text: str) -> bool:
    """IBAN：国别的长度对，模 97 余 1（ISO 13616）。

    Args:
        text: 可以每四个字符空一格。

    Returns:
        是否合法。
    """
    compact = text.replace(" ", "")
    if len(compact) != iban_length(compact[:2]) or not compact.isalnum():
        return False
    return int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1
