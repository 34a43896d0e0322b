"""损失等于 trl 0.12.2 自己的函数算出的值：三个样本，照抄那一次运行打印的数字。

流入：三对对数概率；流出：逐样本的差。那些函数是 ``DPOTrainer.dpo_loss``、``KTOTrainer.kto_loss`` 与
``ORPOTrainer.odds_ratio_loss``（它返回的是偏好一项的相反数）。
"""

from __future__ import annotations

from typing import Any

import pytest

import tinygrad_llm as tg
import tinygrad_llm.losses as ours
import torch_llm.losses as theirs

BETA = 0.25
CHOSEN, REJECTED = [-3.5, -12.25, -0.75], [-9.0, -10.5, -0.5]
CHOSEN_REFERENCE, REJECTED_REFERENCE = [-4.25, -11.0, -2.0], [-8.5, -13.0, -0.625]
EXPECTED = {
    "dpo": [0.5490548622706681, 1.2679582076022207, 0.5623774578630043],
    "dpo_smooth": [0.5803048622706681, 1.1742082076022207, 0.5905024578630044],
    "ipo": [0.5625, 33.0625, 0.765625],
    "kto_good": [0.8662430477787175, 1.038962974702104, 0.8201072279769208],
    "kto_bad": [0.1743225676669729, 0.2656046866868781, 0.19245607224196676],
    "orpo": [0.06309996844070809, 0.20759569809381404, 0.23097199449692146],
}


def _values(losses: Any, make: Any) -> dict[str, Any]:
    """一个引擎的各种损失；KTO 的基线由配错的回答得来，恰为 2。"""
    sides = [make(values) for values in (CHOSEN, REJECTED, CHOSEN_REFERENCE, REJECTED_REFERENCE)]
    chosen, rejected, chosen_reference, rejected_reference = sides
    good = make([1.0] * 3) > 0
    baseline = losses.kto_baseline(rejected_reference, rejected_reference - 2)
    weights = {"desirable_weight": 1.5, "undesirable_weight": 0.5}
    return {
        "dpo": losses.dpo_loss(*sides, BETA),
        "dpo_smooth": losses.dpo_loss(*sides, BETA, 0.1),
        "ipo": losses.ipo_loss(*sides, BETA),
        "kto_good": losses.kto_loss(chosen, chosen_reference, good, baseline, BETA, **weights),
        "kto_bad": losses.kto_loss(rejected, rejected_reference, ~good, baseline, BETA, **weights),
        "orpo": losses.orpo_loss(chosen / 10, rejected / 10, make([0.0] * 3), BETA),
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_a_loss_differs_from_the_reference_implementation(name: str) -> None:
    """两个引擎的值与 trl 的相差超过 1e-12。"""
    import torch

    for losses, module in ((ours, tg), (theirs, torch)):
        made: Any = module
        found = _values(losses, lambda values, made=made: made.tensor(values, dtype=made.float64))[name]
        assert found.tolist() == pytest.approx(EXPECTED[name], abs=1e-12)
