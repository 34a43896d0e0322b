"""``python -m parity_tests.opinfo [名字 …]``：名字里含有所给文字的算子，各通过了几个样例、错在哪里。

``--write`` 跑完全部样例（两三分钟），写出 ``ledger.md``。
"""

from __future__ import annotations

import sys

from parity_tests.opinfo import ledger
from parity_tests.opinfo.harness import database, run


def main(wanted: list[str]) -> None:
    """逐个算子跑完样例，最后打印总数与尚未提供的算子。"""
    writing = wanted == ["--write"]
    chosen = {n: i for n, i in database().items() if writing or not wanted or any(w in n for w in wanted)}
    tallies = [run(name, info) for name, info in chosen.items()]
    if writing:
        ledger.PATH.write_text(ledger.text(tallies), encoding="utf-8")
    for tally in tallies:
        if tally.offered and tally.passed < tally.total:
            print(f"{tally.name}: {tally.passed}/{tally.total}", *tally.failures, sep="\n    ")
    offered = [tally for tally in tallies if tally.offered]
    passed, total = sum(t.passed for t in offered), sum(t.total for t in offered)
    print(f"{passed} of {total} samples pass, {len(offered)} ops offered")
    print("not offered:", *[f"{t.name}({t.total})" for t in tallies if not t.offered])


if __name__ == "__main__":
    main(sys.argv[1:])
