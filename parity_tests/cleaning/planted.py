"""按公开的格式随机造出的个人信息，与放它们的句子；校验码在这里另算一遍，不借用被测的代码。"""

from __future__ import annotations

import random
import string
from collections.abc import Callable

__all__ = ["KINDS", "plant"]

DIGITS = string.digits
LETTERS = string.ascii_letters + DIGITS
CONTEXTS = (
    "Please write to {} before Friday.",
    "contact: {}",
    "{}",
    "请联系{}，谢谢。",
    "他留下的是：{}。",
    "（{}）",
    '{{"value": "{}", "ok": true}}',
    "It was {}, or so she said; call again at 5 pm on 2026-11-22.",
    "row 17\t{}\tend",
)


def plant(rng: random.Random, kind: str) -> tuple[str, str]:
    """一处个人信息，与含有它的一句话。"""
    value = KINDS[kind](rng)
    return value, rng.choice(CONTEXTS).format(value)


def take(rng: random.Random, alphabet: str, count: int) -> str:
    """随机的一串字符。"""
    return "".join(rng.choice(alphabet) for _ in range(count))


def email(rng: random.Random) -> str:
    """各种写法的邮箱。"""
    local = rng.choice(["{0}.{1}", "{0}{2}", "{0}_{1}", "{0}+{1}", "{0}-{1}.{2}", "{2}"])
    name = local.format(take(rng, string.ascii_lowercase, 5), take(rng, string.ascii_letters, 4), take(rng, DIGITS, 6))
    host = rng.choice(
        ["qq.com", "163.com", "mail.example.org", "uni-bonn.de", "cs.tsinghua.edu.cn", "corp.io", "a.co.uk"]
    )
    return f"{name}@{host}"


def phone(rng: random.Random) -> str:
    """大陆手机、座机、北美与国际写法。"""
    mobile = f"1{rng.choice('3456789')}{take(rng, DIGITS, 9)}"
    separator = rng.choice(" -")
    split = separator.join([mobile[:3], mobile[3:7], mobile[7:]])
    area, exchange, line = (f"{rng.choice('23456789')}{take(rng, DIGITS, 2)}" for _ in range(3))
    line += rng.choice(DIGITS)
    options = [mobile, split, f"+86{mobile}", f"+86 {split}", f"(+86){mobile}", f"0086{mobile}"]
    options += [
        f"010-{rng.randint(2, 8)}{take(rng, DIGITS, 7)}",
        f"0{rng.randint(311, 999)}-{rng.randint(2, 8)}{take(rng, DIGITS, 6)}",
    ]
    options += [
        f"({area}) {exchange}-{line}",
        f"{area}-{exchange}-{line}",
        f"+1 {area} {exchange} {line}",
        f"{area}.{exchange}.{line}",
    ]
    options += [f"+44 20 {take(rng, DIGITS, 4)} {take(rng, DIGITS, 4)}", f"+49 30 {take(rng, DIGITS, 8)}"]
    options += [
        f"+33 {rng.randint(1, 9)} {' '.join(take(rng, DIGITS, 2) for _ in range(4))}",
        f"+81-3-{take(rng, DIGITS, 4)}-{take(rng, DIGITS, 4)}",
    ]
    options += [
        f"{area}-{exchange}-{line}x{take(rng, DIGITS, 3)}",
        f"01 {' '.join(take(rng, DIGITS, 2) for _ in range(4))}",
    ]
    return rng.choice(options)


def chinese_id(rng: random.Random) -> str:
    """校验码按 GB 11643 的定义算：Σ a_i·2^(i-1) ≡ 1 (mod 11)，从右往左数。"""
    birth = f"{rng.randint(1930, 2015)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}"
    body = f"{rng.randint(11, 65)}{take(rng, DIGITS, 4)}{birth}{take(rng, DIGITS, 3)}"
    total = sum(int(digit) * 2 ** (17 - place) for place, digit in enumerate(body))
    check = next(c for c in range(11) if (total + c) % 11 == 1)
    return body + ("X" if check == 10 else str(check))


def card(rng: random.Random) -> str:
    """各发卡组织的卡号；末位逐个试到 Luhn 的和是 10 的倍数。"""
    prefix, length = rng.choice(
        [
            ("4", 16),
            ("51", 16),
            ("2223", 16),
            ("37", 15),
            ("6011", 16),
            ("622588", 16),
            ("622202", 19),
            ("6759", 12),
            ("3530", 16),
        ]
    )
    body = prefix + take(rng, DIGITS, length - len(prefix) - 1)
    number = next(body + last for last in DIGITS if luhn(body + last))
    if length == 16 and rng.random() < 0.5:
        return rng.choice(" -").join(number[at : at + 4] for at in range(0, 16, 4))
    return number


def luhn(number: str) -> bool:
    """从右数第二位起隔位加倍，两位数的各位相加。"""
    total = 0
    for place, digit in enumerate(reversed(number)):
        total += sum(map(int, str(int(digit) * (1 + place % 2))))
    return total % 10 == 0


def iban(rng: random.Random) -> str:
    """校验位由 98 - (… mod 97) 得出。"""
    country, body = rng.choice(
        [
            ("DE", take(rng, DIGITS, 18)),
            ("GB", "WEST" + take(rng, DIGITS, 14)),
            ("FR", take(rng, DIGITS, 23)),
            ("NL", "ABNA" + take(rng, DIGITS, 10)),
        ]
    )
    number = "".join(str(int(char, 36)) for char in f"{body}{country}00")
    whole = f"{country}{98 - int(number) % 97:02}{body}"
    return whole if rng.random() < 0.5 else " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))


def ip(rng: random.Random) -> str:
    """公网的 IPv4 与 IPv6。"""
    if rng.random() < 0.6:
        first = rng.choice([8, 23, 45, 91, 114, 142, 180, 203, 218])
        return ".".join(map(str, [first, rng.randint(1, 254), rng.randint(0, 255), rng.randint(1, 254)]))
    groups = [f"{rng.choice(['2606', '2400', '2a00', '240e'])}", *(f"{rng.randrange(1, 65536):x}" for _ in range(7))]
    return ":".join(groups) if rng.random() < 0.5 else f"{':'.join(groups[:3])}::{groups[7]}"


def key(rng: random.Random) -> str:
    """几家服务的密钥的格式；开头在运行时才拼起来，免得被当作真的密钥。"""
    return rng.choice(
        [
            "AK" + "IA" + take(rng, string.ascii_uppercase + DIGITS, 16),
            "gh" + "p_" + take(rng, LETTERS, 36),
            "s" + "k-" + take(rng, LETTERS, 48),
            "AI" + "za" + take(rng, LETTERS + "_-", 35),
            "h" + "f_" + take(rng, LETTERS, 34),
            "xo" + "xb-" + take(rng, DIGITS, 12) + "-" + take(rng, LETTERS, 24),
        ]
    )


KINDS: dict[str, Callable[[random.Random], str]] = {
    "email": email,
    "phone": phone,
    "id": chinese_id,
    "card": card,
    "iban": iban,
    "ip": ip,
    "key": key,
}
