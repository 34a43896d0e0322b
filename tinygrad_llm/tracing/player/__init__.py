"""播放器：把一份录制变成一个双击就能打开的网页，不联网，也不依赖任何程序库。

流入：``Trace.to_dict()`` 给出的文档；流出：一份自足的 HTML，或笔记本里的一个 ``<iframe>``。
下一站：``page.py`` 拼页面，``packing.py`` 压缩数组，``parts/`` 是页面的骨架、样式与脚本。
"""

from tinygrad_llm.tracing.player.page import frame, page

__all__ = ["frame", "page"]
