"""Peers in separate processes: they are frozen between turns, and their errors are reported."""

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


def test_a_process_returns_times_answers_and_memory(echo):
    assert echo.load_ms == 5
    assert echo.times_ms(["a"], repeats=3) == [1, 1, 1]
    assert echo.answers(["a", "b"]) == ["a", "b"]
    assert echo.peak_bytes == 7


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs the process states of Linux")
def test_a_process_is_frozen_between_turns(echo):
    for _ in range(2):
        assert echo.answers(["a"]) == ["a"]
        status = Path(f"/proc/{echo._process.pid}/status")
        while "State:\tR" in (text := status.read_text()):
            pass  # until the signal arrives
        assert "State:\tT" in text


def test_an_error_has_the_message_of_the_peer_and_the_next_turn_works(echo):
    with pytest.raises(PeerError, match="^ValueError: no such text$"):
        echo.times_ms(["fail"])
    assert echo.answers(["a"]) == ["a"]


def test_the_last_line_of_a_process_that_ends_is_in_the_error(echo):
    with pytest.raises(PeerError, match="ended with 1: gone for good"):
        echo.times_ms(["die"])


def test_an_error_while_loading_is_reported(tmp_path):
    peer = [sys.executable, "-m", "benchmarks.worker", "torchless", f'{{"folder": "{tmp_path}", "threads": 1}}']
    with pytest.raises(PeerError, match="CheckpointError: "):
        Process(peer)


@pytest.fixture
def programs(monkeypatch):
    """The programs of the peers' processes, by name of the peer."""
    by_name: dict[str, str] = {}
    monkeypatch.setattr(peers.Peer, "command", lambda peer: _python(by_name[peer.name]))
    monkeypatch.setattr(peers.Peer, "absence", lambda peer: None if by_name[peer.name] else "not installed; install it")
    return by_name


def _peers(names):
    return [Peer(name=name, engine="torchless", model="none") for name in names]


def test_absent_and_failed_peers_are_recorded_and_the_rest_continues(programs):
    programs |= {"well": ECHO, "absent": None, "mute": "import sys; sys.exit('no voice')"}
    with Contest(_peers(programs)) as contest:
        rounds = contest.rounds(["a"], rounds=2, repeats=3)
    assert rounds == {"well": [[1, 1, 1], [1, 1, 1]]}
    assert contest.skipped == {"absent": "not installed; install it"}
    assert contest.failed == {"mute": "its process ended with 1: no voice"}


def test_a_peer_that_fails_in_a_round_is_excluded(programs):
    programs |= {"well": ECHO.replace("fail", "-"), "ill": ECHO}
    with Contest(_peers(programs)) as contest:
        assert [*contest.rounds(["fail"], rounds=1)] == ["well"]
        assert [*contest.rounds(["a"], rounds=1)] == ["well"]
    assert contest.failed == {"ill": "ValueError: no such text"}


@pytest.mark.parametrize(
    ("engine", "settings", "words"),
    [("openvino", {}, "pip install 'torchless"), ("transformers_js", {}, "Node"), ("torchless", {}, None)],
)
def test_the_absence_of_a_peer_names_what_to_install(engine, settings, words, monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name in {"openvino", "nncf"} else name)
    monkeypatch.setattr("shutil.which", lambda _: None)
    absence = Peer(name="peer", engine=engine, model="none", settings=settings).absence()
    assert absence is None if words is None else words in str(absence)
