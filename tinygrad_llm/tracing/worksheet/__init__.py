"""练习：把一段计算的前向与反向写成填空题，再判分，并说出错在哪一种。

流入：``Trace`` 与填过的 Markdown；流出：练习、答案与 ``Report``。
阅读次序：``cells.py``（问什么）→ ``sheet.py``（怎样写）→ ``grading.py``（怎样判）→ ``titles.py``（错误的目录）。
"""

from tinygrad_llm.tracing.worksheet.desk import check_worksheet, fill_worksheet, make_exercise, write_worksheet
from tinygrad_llm.tracing.worksheet.report import Graded, Report

__all__ = ["Graded", "Report", "check_worksheet", "fill_worksheet", "make_exercise", "write_worksheet"]
