"""清洗：文档流进、干净的文档流出，去掉了什么、为什么，都有账目。

阅读次序：``config.py`` → ``normalise.py``、``html_text.py`` → ``characters.py``、``words.py`` → ``filters.py``、
``language.py`` → ``pii.py`` → ``decontaminate.py`` → ``stages.py``（每个阶段都是纯函数）→ ``minhash.py``、``dedup.py``
→ ``shard.py``、``passes.py``、``pipeline.py``（分片、多进程与全局的一趟）→ ``report.py``。
"""

from tinygrad_llm.common.cleaning.config import CleanConfig
from tinygrad_llm.common.cleaning.pipeline import Result, clean
from tinygrad_llm.common.cleaning.stages import Stage, Verdict, document_stages, run_stages

__all__ = ["CleanConfig", "Result", "Stage", "Verdict", "clean", "document_stages", "run_stages"]
