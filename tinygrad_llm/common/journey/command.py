"""``python -m torch_llm journey``：走完全程。

流入：``JourneyConfig``；流出：一个文件夹与一页报告；有一条基线没有达到，就以退出码 1 结束。
"""

from __future__ import annotations

import time

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.journey.settings import JourneyConfig, NumpyJourneyConfig

__all__ = ["MissedError", "main", "main_numpy"]


class MissedError(UserError):
    """有基线没有达到（退出码 1）。"""

    exit_code = 1


def main(config: JourneyConfig) -> None:
    """走完各站，写出报告。

    Args:
        config: 设置。

    Raises:
        UserError: 设置不对，或某一站没有做完。
        MissedError: 走完了，但有基线没有达到。
        InterruptedRunError: 被打断；同样的命令再跑一次就接着走。
    """
    from tinygrad_llm.common.journey.report import write_report
    from tinygrad_llm.common.journey.runner import travel
    from tinygrad_llm.common.journey.stages_choice import CHOICE_STAGES
    from tinygrad_llm.common.journey.stages_model import MODEL_STAGES
    from tinygrad_llm.common.progress import format_duration

    stages = (*MODEL_STAGES, *CHOICE_STAGES)
    began_at = time.monotonic()
    record = travel(config, stages)
    path = write_report(config.folder, record, stages)
    checks = [check for one in record["stages"].values() for check in one["checks"]]
    missed = [check["name"] for check in checks if not check["is_met"]]
    print(f"losses of all runs: sha256 {record['losses_sha256'][:16]}")
    beaten, elapsed = len(checks) - len(missed), format_duration(time.monotonic() - began_at)
    print(f"{beaten} of {len(checks)} baselines beaten in {elapsed}")
    print(f"report: {path}")
    if missed:
        raise MissedError(f"not beaten: {', '.join(missed)}", where=str(path), fix="read the report")


def main_numpy(config: NumpyJourneyConfig) -> None:
    """``python -m tinygrad_llm journey``：同样的各站，缺省由 NumPy 引擎来走。"""
    main(config)
