"""沙箱：在另一个进程里运行模型写的 Python，不许碰文件、网络与别的进程，时间、内存与输出都有上限。

流入：一段代码；流出：``Outcome``。先读 ``run.py``（从外面怎样限制），再读 ``guard.py``（在里面怎样拦）。

两层各管一半，都不是虚拟机：

- 外层由操作系统执行：CPU 时间、内存、文件大小、进程数的上限（POSIX 的 ``setrlimit``），到点整组杀掉；Linux 上还尽量
  换到没有网卡的网络名字空间。这一层拦得住任何代码。
- 内层是 Python 的审计钩子：打开文件、联网、起进程、加载动态库都先问它。它只看得见解释器报告的事；解释器自己的内存安全
  漏洞可以绕过它。

所以它挡得住模型随手写出的坏代码与常见的越狱，挡不住手握解释器漏洞的人；跑不可信的人写的代码，请用容器或虚拟机。
Windows 没有 ``setrlimit``，内存与进程数在那里没有上限。
"""

from tinygrad_llm.common.sandbox.run import Limits, Outcome, run_python

__all__ = ["Limits", "Outcome", "run_python"]
