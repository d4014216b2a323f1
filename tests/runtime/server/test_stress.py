import asyncio
import signal
import time

import httpx
import numpy as np
from fixtures.server import serving

from torchless_export.sample import sample_texts

LIMIT = 4
TEXTS = sample_texts(200)


async def load(url, *, connections, seconds):
    """Send requests on several connections without pauses; return (status, seconds, headers) of each request."""
    answers = []
    ends = time.perf_counter() + seconds

    async def ask(client, first):
        position = first
        while time.perf_counter() < ends:
            position += 1
            begun = time.perf_counter()
            got = await client.post("/models/sentiment", json={"inputs": TEXTS[position % len(TEXTS)]})
            answers.append((got.status_code, time.perf_counter() - begun, got.headers))
            if got.status_code == 429:  # less than Retry-After
                await asyncio.sleep(0.05)

    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        await asyncio.gather(*(ask(client, 17 * index) for index in range(connections)))
    return answers


def test_overload_is_refused_at_once_and_does_not_slow_other_requests(sentiment):
    with serving(f"sentiment={sentiment}", f"--max-concurrent-requests={LIMIT}", "--log-format=none") as server:
        asyncio.run(load(server.url, connections=LIMIT, seconds=0.5))  # warm
        within = asyncio.run(load(server.url, connections=LIMIT, seconds=2))
        beyond = asyncio.run(load(server.url, connections=3 * LIMIT, seconds=2))
    assert {status for status, _, _ in within} == {200}
    assert {status for status, _, _ in beyond} == {200, 429}
    assert all(headers["retry-after"] == "1" for status, _, headers in beyond if status == 429)
    at_limit = np.median([took for _, took, _ in within])
    assert np.median([took for status, took, _ in beyond if status == 200]) < 3 * at_limit
    assert np.median([took for status, took, _ in beyond if status == 429]) < 2 * at_limit


async def until(ask, condition):
    """Repeat a request until its response fulfils a condition, for some seconds; return the response."""
    for _ in range(2000):
        if condition(got := await ask()):
            return got
        await asyncio.sleep(0.005)
    raise AssertionError(got)


def test_accepted_requests_are_finished_after_a_signal(tiny):
    folder = tiny.export("gpt2", "text-generation")
    long = {"inputs": "A film", "parameters": {"min_new_tokens": 400, "max_new_tokens": 400}}

    async def scenario():
        with serving(f"gpt2={folder}") as server:
            async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
                taken = asyncio.create_task(client.post("/models/gpt2", json=long))
                tokenised = 'torchless_tokenise_seconds_count{model="gpt2"} 1.0'
                await until(lambda: client.get("/metrics"), lambda got: tokenised in got.text)
                server.process.send_signal(signal.SIGTERM)
                ready = await until(lambda: client.get("/ready"), lambda got: got.status_code != 200)
                refused = await client.post("/models/gpt2", json=long)
                answer = await taken
            return ready, refused, answer, server.process.wait(timeout=20)

    ready, refused, answer, status = asyncio.run(scenario())
    assert (ready.status_code, ready.json()) == (503, {"ready": False})
    assert (refused.status_code, refused.json()["error_type"]) == (503, "unavailable")
    assert (answer.status_code, status) == (200, 0)
