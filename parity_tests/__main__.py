"""``python -m parity_tests [VERB]``：把证据摆给用户看；不给动词就出一份总账。"""

import os
import sys

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # 数组都很小，多线程只添乱；要赶在 numpy 与 torch 加载之前定下来

from tinygrad_llm.common.cli import Verb, main  # noqa: E402  上一行要赶在它之前

VERBS = {
    "ledger": Verb(
        "parity_tests.ledger.command:main",
        "every op: the engine against torch and against finite differences (the default)",
    ),
    "contract": Verb("parity_tests.contract.command:main", "the invariances of a GPT, each beside a broken twin"),
    "programs": Verb("parity_tests.random_programs.command:main", "random programs on both engines, every gradient"),
    "mutants": Verb("parity_tests.mutants.command:main", "wrong derivatives on purpose: do the tests notice?"),
}

if __name__ == "__main__":
    argv = sys.argv[1:]
    bare = not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help"))
    about = "The proof: the engine against torch and finite differences, on this machine."
    sys.exit(main("python -m parity_tests", about, VERBS, ["ledger", *argv] if bare else argv))
