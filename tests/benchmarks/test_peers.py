"""Peers in processes of their own: frozen between turns, and heard when they fail."""

import sys
from pathlib import Path

import pytest
from benchmarks import peers
from benchmarks.contest import Contest
from benchmarks.peers import Peer, PeerError, Process

LOADED = """
import json, sys
print(json.dumps({"load_ms": 5.0}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
"""
ECHO = (
    LOADED
    + """
    if request["inputs"] == ["fail"]:
        print(json.dumps({"error": "ValueError: no such text"}), flush=True)
    elif request["inputs"] == ["die"]:
        sys.exit("gone for good")
    else:
        reply = {"answers": request["inputs"], "times_ms": [1.0] * request["repeats"], "peak_bytes": 7}
        print(json.dumps(reply), flush=True)
"""
)


def _python(program):
    return [sys.executable, "-c", program]


@pytest.fixture
def echo():
    with Process(_python(ECHO)) as process:
        yield process


def test_a_process_tells_times_answers_and_memory(echo):
    assert echo.load_ms == 5
    assert echo.times_ms(["a"], repeats=3) == [1, 1, 1]
    assert echo.answers(["a", "b"]) == ["a", "b"]
    assert echo.peak_bytes == 7


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="asks Linux for the state of a process")
def test_a_process_stands_still_between_turns_and_goes_on(echo):
    for _ in range(2):
        assert echo.answers(["a"]) == ["a"]
        status = Path(f"/proc/{echo._process.pid}/status")
        while "State:\tR" in (text := status.read_text()):
            pass  # the signal is on its way
        assert "State:\tT" in text


def test_an_error_is_told_in_the_peers_own_words_and_the_next_turn_works(echo):
    with pytest.raises(PeerError, match="^ValueError: no such text$"):
        echo.times_ms(["fail"])
    assert echo.answers(["a"]) == ["a"]


def test_the_last_words_of_a_process_that_ends_are_told(echo):
    with pytest.raises(PeerError, match="ended with 1: gone for good"):
        echo.times_ms(["die"])


def test_a_worker_tells_what_loading_raised(tmp_path):
    peer = [sys.executable, "-m", "benchmarks.worker", "torchless", f'{{"folder": "{tmp_path}", "threads": 1}}']
    with pytest.raises(PeerError, match="CheckpointError: "):
        Process(peer)


@pytest.fixture
def programs(monkeypatch):
    """By a peer's name, the program that its process runs."""
    found: dict[str, str] = {}
    monkeypatch.setattr(peers.Peer, "command", lambda peer: _python(found[peer.name]))
    monkeypatch.setattr(peers.Peer, "absence", lambda peer: None if found[peer.name] else "not there; install it")
    return found


def _peers(names):
    return [Peer(name=name, engine="torchless", model="none") for name in names]


def test_who_is_absent_or_fails_is_written_down_and_the_others_go_on(programs):
    programs |= {"well": ECHO, "absent": None, "mute": "import sys; sys.exit('no voice')"}
    with Contest(_peers(programs)) as contest:
        rounds = contest.rounds(["a"], rounds=2, repeats=3)
    assert rounds == {"well": [[1, 1, 1], [1, 1, 1]]}
    assert contest.skipped == {"absent": "not there; install it"}
    assert contest.failed == {"mute": "its process ended with 1: no voice"}


def test_who_fails_in_a_round_is_asked_no_more(programs):
    programs |= {"well": ECHO.replace("fail", "-"), "ill": ECHO}
    with Contest(_peers(programs)) as contest:
        assert [*contest.rounds(["fail"], rounds=1)] == ["well"]
        assert [*contest.rounds(["a"], rounds=1)] == ["well"]
    assert contest.failed == {"ill": "ValueError: no such text"}


@pytest.mark.parametrize(
    ("engine", "settings", "words"),
    [("openvino", {}, "pip install 'torchless"), ("transformers_js", {}, "Node"), ("torchless", {}, None)],
)
def test_an_absent_peer_says_what_to_install(engine, settings, words, monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name in {"openvino", "nncf"} else name)
    monkeypatch.setattr("shutil.which", lambda _: None)
    absence = Peer(name="one", engine=engine, model="none", settings=settings).absence()
    assert absence is None if words is None else words in str(absence)
