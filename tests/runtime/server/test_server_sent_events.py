import json

from torchless.server.server_sent_events import event


def test_an_event_is_one_line_for_every_client():
    text = "a\u2028b\u2029c\x85d\ne\r\x0bf"
    line, *end = event({"text": text}).decode().splitlines()
    assert end == [""]
    assert json.loads(line.removeprefix("data: ")) == {"text": text}
