"""排队、取消、期限、限额与收场：谁也不饿死，谁也不白占着槽。

流入：慢的与坏的引擎，走了的与太多的客户；流出：多写的 token，没有让出的槽。
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from parity_tests.serving.echo import Opener
from parity_tests.serving.running import Running, eventually, running
from tinygrad_llm.common.serving.errors import ApiError
from tinygrad_llm.common.serving.limits import Bucket, Limits

LONG = "z" * 300


def engine_of(server: Running) -> Any:
    """那台服务器的引擎线程。"""
    return server.api.models["echo"].engine


def test_outputs_of_concurrent_requests_are_crossed() -> None:
    """几个人同时问，有人得到了别人的回答。"""
    texts = [chr(ord("a") + i) * (5 + i) for i in range(12)]
    with running(Opener(), slots=3, queue=64) as server, ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda text: server.chat(text)[1]["choices"][0]["message"]["content"], texts))
        streams = list(pool.map(server.stream, texts))
    assert found == texts
    for text, parts in zip(texts, streams, strict=True):
        assert "".join(part["choices"][0]["delta"].get("content", "") for part in parts[:-1]) == text


def test_a_full_queue_is_not_refused() -> None:
    """排队的太多时没有答 429，没有说过多久再来，或拒绝之后不再收别人的。"""
    with running(Opener(delay_s=0.02), slots=1, queue=2) as server:
        held = [server.opened_stream(LONG)]
        assert eventually(lambda: engine_of(server).scheduler.running == 1)
        held += [server.opened_stream(LONG) for _ in range(2)]
        assert eventually(lambda: engine_of(server).live == 3)
        status, body, headers = server.chat("hi")
        assert (status, body["error"]["code"], body["error"]["type"]) == (429, "queue_full", "rate_limit_error")
        assert int(headers["retry-after"]) >= 1
        for connection in held:
            connection.close()
        assert eventually(lambda: engine_of(server).live == 0)
        assert server.chat("hi")[0] == 200


@pytest.mark.parametrize("stream", [True, False])
def test_generation_goes_on_after_a_disconnect(stream: bool) -> None:
    """对方断开之后，又写了不止两个 token，或槽没有让出。"""
    opener = Opener(delay_s=0.03)
    with running(opener, slots=2) as server:
        for _ in range(4):
            connection = server.opened_stream(LONG, **({} if stream else {"stream": False}))
            assert eventually(lambda: opener.decoders[0].steps % 1000 >= 5)
            connection.close()
            written = opener.decoders[0].steps
            assert eventually(lambda: engine_of(server).scheduler.running == 0)
            assert opener.decoders[0].steps - written <= 2
            opener.decoders[0].steps = 0
            assert server.api.active == 0


def test_a_request_outlives_its_deadline() -> None:
    """到期了还在写；写过的没有给出，或一个字也没写的没有报错。"""
    with running(Opener(delay_s=0.02), slots=1, chunk=1, deadline_s=0.3) as server:
        status, body, _ = server.chat(LONG)  # 一步读一个 token，读不完
        assert (status, body["error"]["code"]) == (408, "deadline_exceeded")
        assert eventually(lambda: engine_of(server).scheduler.running == 0)
    with running(Opener(delay_s=0.02), slots=1, deadline_s=1.0) as server:
        status, body, _ = server.chat(LONG)
        assert (status, body["choices"][0]["finish_reason"]) == (200, "length")
        assert 0 < len(body["choices"][0]["message"]["content"]) < len(LONG)


def test_one_failure_of_the_engine_ends_the_service(capfd: pytest.CaptureFixture[str]) -> None:
    """引擎里出了一次错，此后的请求得不到回答，或错误的详情告诉了对方。"""
    opener = Opener()
    with running(opener, slots=1) as server:
        opener.decoders[0].is_broken = True
        status, body, _ = server.chat("hello")
        assert (status, body["error"]["code"]) == (500, "engine_failed")
        assert "on purpose" not in str(body)
        assert "on purpose" in capfd.readouterr().err
        assert server.chat("hello")[1]["choices"][0]["message"]["content"] == "hello"
        opener.decoders[0].is_broken = True
        assert "engine failed" in server.stream("hello")[-1]["error"]["message"]
        assert engine_of(server).failures == 2


def test_draining_takes_new_work_or_drops_old() -> None:
    """收场时还收新的请求，或没有把在写的写完。"""
    with running(Opener(delay_s=0.01), slots=2) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.chat, "x" * 30)
        assert eventually(lambda: server.api.active == 1)
        server.api.is_draining = True
        status, body, headers = server.chat("late")
        assert (status, body["error"]["code"]) == (503, "shutting_down")
        assert "retry-after" in headers
        assert server.request("GET", "/health")[0] == 503
        assert answer.result()[1]["choices"][0]["message"]["content"] == "x" * 30


def test_health_waits_for_the_engine() -> None:
    """引擎忙着，``/health`` 等它。"""
    opener = Opener()
    with running(opener, slots=1) as server:
        decoder = opener.decoders[0]
        decoder.gate.clear()
        connection = server.opened_stream(LONG)
        try:
            assert eventually(lambda: decoder.steps > 0)
            assert server.request("GET", "/health")[0] == 200
        finally:
            decoder.gate.set()
            connection.close()


def test_limits_per_minute_do_not_limit() -> None:
    """每分钟的限额用完了还放行，用完之后不再补，或一个人用完了别人也不能用。"""
    clock = [0.0]
    bucket = Bucket(60, lambda: clock[0])
    bucket.take(60)
    assert bucket.wait_s(1) == pytest.approx(1)
    clock[0] = 30
    assert bucket.wait_s(1) == 0
    limits = Limits(2, 100)
    limits.admit("a")
    limits.admit("a")
    with pytest.raises(ApiError, match="requests per minute"):
        limits.admit("a")
    limits.admit("b")
    limits.charge("b", 500)
    with pytest.raises(ApiError, match="tokens per minute") as caught:
        limits.admit("b")
    assert 230 <= int(caught.value.headers["Retry-After"]) <= 241


def test_used_tokens_are_not_charged() -> None:
    """写出的 token 没有计进限额。"""
    with running(Opener(), tokens_per_min=50) as server:
        assert server.chat("y" * 60)[0] == 200
        status, body, headers = server.chat("y")
        assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(headers["retry-after"]) > 0


def test_threads_are_left_behind() -> None:
    """停下之后，引擎的线程还在。"""
    before = set(threading.enumerate())
    with running(Opener(), slots=1) as server:
        server.chat("x")
    left = [one for one in set(threading.enumerate()) - before if one.name.startswith("engine")]
    assert not left


def test_metrics_do_not_count() -> None:
    """指标没有数对请求、token 与回答，或不是 Prometheus 的写法。"""
    with running(Opener(), slots=1) as server:
        server.chat("abc")
        server.request("GET", "/nothing")
        text = server.request("GET", "/metrics")[1].decode()
    assert 'llm_requests_total{route="/v1/chat/completions",status="200"} 1' in text
    assert 'llm_requests_total{route="other",status="404"} 1' in text
    assert 'llm_tokens_total{model="echo",kind="written"} 4' in text
    assert 'llm_between_tokens_seconds_count{model="echo"} 3' in text
    assert 'llm_first_token_seconds_bucket{model="echo",le="+Inf"} 1' in text
    samples = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    assert all(float(value) >= 0 for _, value in samples)
    assert len({name for name, _ in samples}) == len(samples)
