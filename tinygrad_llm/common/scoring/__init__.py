"""评测的算术：多少题、对几成、有多大把握，与靠猜能得几分相比如何。

流入：一题一个分数、或一题一组概率；流出：带区间的成绩。先读 ``intervals.py``（一个比例有多准）
与 ``ratios.py``（两个和之比），再读 ``scores.py``（原始分、去掉运气之后的分），``calibration.py``
（自信与正确率相符吗），``ranking.py``（两种评分的次序一致吗）。
"""

from tinygrad_llm.common.scoring.calibration import Calibration, calibration
from tinygrad_llm.common.scoring.intervals import (
    Interval,
    bootstrap_interval,
    paired_difference,
    paired_p_value,
    seed_interval,
    wilson_interval,
)
from tinygrad_llm.common.scoring.ranking import kendall_tau, spearman_rho
from tinygrad_llm.common.scoring.ratios import paired_ratio_difference, ratio_interval
from tinygrad_llm.common.scoring.scores import Score, centred, score_choices, score_of

__all__ = [
    "Calibration",
    "Interval",
    "Score",
    "bootstrap_interval",
    "calibration",
    "centred",
    "kendall_tau",
    "paired_difference",
    "paired_p_value",
    "paired_ratio_difference",
    "ratio_interval",
    "score_choices",
    "score_of",
    "seed_interval",
    "spearman_rho",
    "wilson_interval",
]
