"""What the comparison of two runs forgives, and what it does not."""

from typing import Any

import pytest

from tests.conformance.outcome import comparable, differences

HERE, THERE = "http://127.0.0.1:4000", "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"id": "msg_01AbCdEfGhIj"}, {"id": "msg_01ZyXwVuTsRq"}, id="an id"),
        pytest.param(["wrkspc_a.b", "wrkspc_a.b"], ["wrkspc_c", "wrkspc_c"], id="a workspace"),
        pytest.param({"at": "2026-11-20T18:00:00.123Z"}, {"at": "2026-11-21T09:30:01Z"}, id="a date"),
        pytest.param({"url": f"{HERE}/v1/x"}, {"url": f"{THERE}/v1/x"}, id="the address"),
        pytest.param("check your gateway (127.0.0.1:4000)", "check your gateway (127.0.0.1:5000)", id="the host"),
        pytest.param({"request_id": None}, {"request_id": "gwr_0123abcd"}, id="an id where the API gave none"),
        pytest.param({"date": ["Fri"]}, {"date": ["Sat"], "x-gateway-request-id": ["1"]}, id="the gateway's headers"),
    ],
)
def test_forgiven(one: Any, other: Any) -> None:
    """Ids, dates, the address and the gateway's own headers differ from run to run."""
    assert [] == list(differences(comparable(one, HERE), comparable(other, THERE)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            ["msg_01AbCdEfGhIj", "msg_01AbCdEfGhIj"], ["msg_01AbCdEfGhIj", "msg_01ZyXwVuTsRq"], id="which object"
        ),
        pytest.param({"id": "msg_01AbCdEfGhIj"}, {"id": "file_01AbCdEfGhIj"}, id="its kind"),
        pytest.param({"custom_id": "a_1"}, {"custom_id": "a_2"}, id="a chosen name"),
        pytest.param({"n": 1}, {"n": True}, id="a type"),
        pytest.param({"n": 1}, {"n": 1, "m": None}, id="a field more"),
        pytest.param([1, 2], [1], id="an element less"),
        pytest.param(
            {"request_id": "req_01AbCdEfGhIj"}, {"request_id": "gwr_0123abcd"}, id="an id in place of the API's"
        ),
        pytest.param({"x-should-retry": "true"}, {"x-should-retry": "false"}, id="a header"),
    ],
)
def test_not_forgiven(one: Any, other: Any) -> None:
    """Everything else has to be the same."""
    assert 1 == len(list(differences(comparable(one, HERE), comparable(other, THERE))))
