"""编译器的设置：写得进、读得出；没有编译器，也就没有人看。"""

from __future__ import annotations

suppress_errors = False
verbose = False
cache_size_limit = recompile_limit = 8
