"""Which proxy stands before which origin: the environment's variables as a value."""

from typing import Literal

import pytest

from gateway.core.http import Origin
from gateway.wire.proxies import DIRECT, Proxies, ProxyServer, proxies

PROXY = ProxyServer("proxy.test", 3128)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, DIRECT),
        ({"HTTPS_PROXY": "", "HTTP_PROXY": " "}, DIRECT),
        ({"HTTPS_PROXY": "http://proxy.test:3128"}, Proxies(https=PROXY)),
        ({"https_proxy": "http://proxy.test:3128/"}, Proxies(https=PROXY)),
        ({"HTTP_PROXY": "proxy.test:3128"}, Proxies(http=PROXY)),
        ({"HTTP_PROXY": "http://proxy.test"}, Proxies(http=ProxyServer("proxy.test", 80))),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2"}, Proxies(https=ProxyServer("b", 2))),
        ({"HTTPS_PROXY": "http://[::1]:3128"}, Proxies(https=ProxyServer("::1", 3128))),
        ({"HTTPS_PROXY": "http://u:p%40ss@h:1"}, Proxies(https=ProxyServer("h", 1, b"Basic dTpwQHNz"))),
        ({"HTTPS_PROXY": "http://u@h:1"}, Proxies(https=ProxyServer("h", 1, b"Basic dTo="))),
        ({"HTTPS_PROXY": "http://%C3%A9:p@h:1"}, Proxies(https=ProxyServer("h", 1, b"Basic w6k6cA=="))),
        ({"NO_PROXY": "A.test, .b.test  *.c.test,*"}, Proxies(bypass=("a.test", "b.test", "c.test", "*"))),
    ],
)
def test_variables_become_a_value(environment: dict[str, str], expected: Proxies) -> None:
    """Either case is read, the lower one first; blanks are nothing; credentials become the header's value."""
    assert expected == proxies(environment)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("socks5://me:hunter2@h:1", "only http:// proxies"),
        ("https://me:hunter2@h:1", "only http:// proxies"),
        ("http://me:hunter2@", "names no host"),
        ("http://me:hunter2@h:port", "is not a URL"),
        ("http://me:hunter2@h:99999", "is not a URL"),
        ("http://me:hunter2@[::1", "is not a URL"),
    ],
)
def test_a_faulty_url_is_named_but_not_quoted(url: str, said: str) -> None:
    """The message names the variable and the way out; never the password."""
    with pytest.raises(ValueError, match=said) as caught:
        proxies({"HTTPS_PROXY": url})

    assert "HTTPS_PROXY" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_credentials_are_in_no_repr() -> None:
    """A settings dump shows the proxy's host alone."""
    assert "aHVudGVyMg" not in repr(Proxies(https=ProxyServer("h", 1, b"Basic aHVudGVyMg==")))


@pytest.mark.parametrize(
    ("entry", "host", "port", "direct"),
    [
        ("claude.test", "claude.test", 443, True),
        ("claude.test", "CLAUDE.test.", 443, True),
        ("claude.test", "api.claude.test", 443, True),
        ("claude.test", "notclaude.test", 443, False),
        ("claude.test", "test", 443, False),
        (".claude.test", "api.claude.test", 443, True),
        ("*.claude.test", "api.claude.test", 443, True),
        ("claude.test:443", "claude.test", 443, True),
        ("claude.test:8443", "claude.test", 443, False),
        ("*", "claude.test", 443, True),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3", "10.1.2.33", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.1.0.0/8", "10.200.0.1", 443, True),
        ("10.0.0.0/8", "claude.test", 443, False),
        ("no/network", "claude.test", 443, False),
        ("fd00::1", "fd00::1", 443, True),
        ("[fd00::1]", "fd00::1", 443, True),
        ("[fd00::1]:443", "fd00::1", 443, True),
        ("[fd00::1]:80", "fd00::1", 443, False),
        ("fd00::/8", "fd12::1", 443, True),
        ("fd00::/8", "10.0.0.1", 443, False),
        ("other.test", "localhost", 443, True),
        ("other.test", "127.8.8.8", 443, True),
        ("other.test", "::1", 443, True),
    ],
)
def test_who_goes_direct(entry: str, host: str, port: int, direct: bool) -> None:
    """A name bypasses with its subdomains, an address alone, a network whole; a port narrows; loopback always does."""
    asked = proxies({"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": entry})

    assert (None if direct else PROXY) == asked.towards(Origin("https", host, port))


@pytest.mark.parametrize(("scheme", "expected"), [("https", PROXY), ("http", None)])
def test_each_scheme_has_its_own(scheme: Literal["http", "https"], expected: ProxyServer | None) -> None:
    """HTTPS_PROXY serves https origins only."""
    assert expected == Proxies(https=PROXY).towards(Origin(scheme, "claude.test", 443))
