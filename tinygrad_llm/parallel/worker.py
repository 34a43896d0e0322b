"""工作进程的入口：收一条命令，做一件事，答一句；管道断了就退出。

流入：``team.Team`` 从管道发来的设置与命令；流出：共享内存里的梯度与参数，管道里的答复。
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import traceback
from multiprocessing.connection import Connection

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.memory import keep_freed_memory
from tinygrad_llm.ops.cores import limit_threads
from tinygrad_llm.parallel.ring import Ring
from tinygrad_llm.parallel.team import Replica, receive


def main(link: Connection) -> None:
    """一直做到管道断开。"""
    limit_threads(1)
    setup = json.loads(link.recv_bytes())
    memory = mmap.mmap(setup["memory"], 0)
    os.close(setup["memory"])
    config, ring = GPTConfig.from_dict(setup["config"]), Ring(*setup["ring"])
    replica = Replica(config, setup["dtype"], setup["optimizer"], memory, ring)
    keep_freed_memory()
    while True:
        action, batches, settings = receive(link)
        try:
            answer = {"result": getattr(replica, action)(*batches, **settings)}
        except ConnectionError:  # 前后的进程不在了
            raise
        except Exception as error:  # 无论什么错都要告诉主进程，由它收场
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        link.send_bytes(json.dumps(answer).encode())


if __name__ == "__main__":
    try:
        main(Connection(int(sys.argv[1])))
    except (EOFError, ConnectionError):
        os._exit(0)  # 主进程走了；共享内存上还有数组，用不着逐个收
