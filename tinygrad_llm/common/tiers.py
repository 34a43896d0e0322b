"""硬件档位：一个名字代表一组 flag，对着常见的四种机器；用户点名的 flag 仍然算数。

流入：档位名与用户点名的设置；流出：其余的设置。模型的深度由档位给出，宽度、批与学习率再由深度定（``depth.py``）；
档位自己定的是怎样跑得下、跑得快：微批、精度、编译、重算。``auto`` 看这台机器有什么。
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from tinygrad_llm.common.config import preset
from tinygrad_llm.common.depth import settings_for_depth
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.torch_config import TierName

QUERY_TIMEOUT_S = 10.0
_MANY = 8


@dataclass(frozen=True)
class Tier:
    """一档机器。

    Attributes:
        machine: 什么机器。
        depth: 模型的深度：在这种机器上几分钟（cpu）到几小时做得完。
        tokens: 一个设备上一个微批至多多少 token，决定 ``--accumulate``。
        devices: 几个设备一起跑。
        flags: 另外几个设置。
    """

    machine: str
    depth: int
    tokens: int
    devices: int
    flags: dict[str, Any]


TIERS: dict[str, Tier] = {
    "cpu": Tier("a few CPU cores, such as a free notebook", 2, 8192, 1, {"precision": "auto"}),
    "laptop": Tier("a laptop with a GPU or Apple silicon", 6, 8192, 1, {"precision": "auto"}),
    "gpu": Tier("one card of 24 GB or more", 12, 16384, 1, {"precision": "bfloat16", "compile": True}),
    "8xh100": Tier(
        "one node of eight 80 GB cards",
        24,
        16384,
        _MANY,
        {"precision": "bfloat16", "compile": True, "recompute": False},
    ),
}


def pick_tier(name: str) -> str:
    """``auto`` 换成这台机器的档位。"""
    if name != "auto":
        return name
    cards = nvidia_cards()
    if cards:
        return "8xh100" if len(cards) >= _MANY else "gpu"
    return "laptop" if platform.system() == "Darwin" and platform.machine() == "arm64" else "cpu"


def nvidia_cards() -> list[str]:
    """这台机器的 NVIDIA 显卡；没有，或驱动答不上来，则为空。"""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    question = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.split("\n")[:-1] if answer.returncode == 0 else []


def settings_for_tier(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """档位代表的设置，连同它的深度定出的；用户点名的不在其中。

    Args:
        name: 档位名。
        given: 用户点名的设置。

    Returns:
        设置名到值。

    Raises:
        UserError: 没有这个档位。
    """
    if name not in get_args(TierName):
        raise UserError(f"unknown tier {name!r}", where="--tier", fix=f"choose one of {', '.join(get_args(TierName))}")
    tier, known = TIERS[pick_tier(name)], dict(given)
    made: dict[str, Any] = {key: value for key, value in tier.flags.items() if key not in known}
    if known.get("dtype") == "float64":
        made.pop("precision", None)
    if known.get("depth") is None and known.get("preset") is None:
        made["depth"] = known["depth"] = tier.depth
    if known.get("depth") is not None:
        derived = {one.name: one.value for one in settings_for_depth(known["depth"], known) if not one.is_given}
        made |= {key: value for key, value in derived.items() if key not in ("N", "D")}
    if "accumulate" not in known:
        context = known.get("context") or made.get("context") or preset(known["preset"]).context
        batch = known.get("batch_size") or made.get("batch_size") or 16
        made["accumulate"] = micro_batches(batch, context, tier)
    return made


def micro_batches(batch_size: int, context: int, tier: Tier) -> int:
    """分成几个微批，一个设备上的一个微批才不超过档位许可的 token 数；总是批大小的约数。"""
    return next(
        n
        for n in range(1, batch_size + 1)
        if batch_size % n == 0 and (batch_size // n * context <= tier.tokens * tier.devices or n == batch_size)
    )


def tier_lines(name: str, final: Mapping[str, Any]) -> list[str]:
    """印给人看：档位代表哪些 flag，最终用的是什么。"""
    picked = pick_tier(name)
    tier = TIERS[picked]
    why = "" if picked == name else f" (picked for this machine by --tier {name})"
    shown = {key: final[key] for key in ("depth", "preset", "context", "batch_size", "accumulate", *tier.flags)}
    return [f"--tier {picked}{why}: {tier.machine}", f"  stands for {as_words(shown)}"]


def as_words(settings: Mapping[str, Any]) -> str:
    """设置写成命令行上的 flag。"""
    words = []
    for key, value in settings.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            words.append(f"--{flag} {value}")
    return " ".join(words)


def advice() -> str:
    """给 ``doctor`` 的一句建议：这台机器属于哪一档，相当于哪些 flag。"""
    name = pick_tier("auto")
    tier = TIERS[name]
    launcher = f"torchrun --nproc-per-node {tier.devices} -m torch_llm" if tier.devices > 1 else "python -m torch_llm"
    return f"{launcher} pretrain --tier {name}, that is {as_words(settings_for_tier(name, {}))}"
