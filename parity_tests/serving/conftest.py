"""服务器的测试共用的一台服务器。"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from parity_tests.serving.echo import Opener
from parity_tests.serving.running import Running, running


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """说回去的模型，四个槽。"""
    with running(Opener(), slots=4, queue=8, max_tokens=400) as found:
        yield found
