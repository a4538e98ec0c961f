"""What stops, in both directions; all else passes in order and unchanged."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core import headers
from gateway.core.http import Headers

token = st.text(alphabet="abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789-_", min_size=1, max_size=20).map(str.encode)
known = st.sampled_from(
    sorted(headers.HOP_BY_HOP | headers.CREDENTIALS | {b"cf-ray", b"x-forwarded-for", b"host", b"via"})
)
value = st.binary(max_size=20).map(lambda data: data.translate(None, b"\r\n\x00").strip())
listed = st.lists(st.tuples(token | known | known.map(bytes.title), value), max_size=12)


@given(listed, st.lists(token, max_size=3))
def test_nothing_secret_or_hop_by_hop_leaves(given_headers: Headers, named: list[bytes]) -> None:
    """Whatever a client sends, no credential, cookie, hop-by-hop, forwarding or framing header leaves."""
    sent = [*given_headers, (b"Connection", b", ".join(named))]
    passed = headers.upstream_headers(sent)
    names = {name.lower() for name, _ in passed}

    assert not names & (headers.HOP_BY_HOP | headers.CREDENTIALS | {b"host", b"content-length", b"expect", b"via"})
    assert not names & ({name.lower() for name in named} - {b"accept-encoding"})
    assert not any(name.startswith((b"x-forwarded-", b"cf-", b"x-gateway-")) for name in names)
    assert [pair for pair in sent if pair in passed[:-1]] == passed[:-1]
    assert passed[-1] == headers.ASK_PLAIN


@given(listed)
def test_what_is_not_in_a_table_passes(given_headers: Headers) -> None:
    """A header that no table names goes through both ways, in its place."""
    unknown = [(b"x-unknown-" + name, value) for name, value in given_headers]

    assert headers.upstream_headers(unknown) == [*unknown, headers.ASK_PLAIN]
    assert headers.client_headers(unknown) == unknown


def test_limits_of_the_workspace_stay_here() -> None:
    """The shared quota is nobody's business: the team gets numbers of its own."""
    given_headers = [
        (b"anthropic-ratelimit-tokens-remaining", b"1"),
        (b"Anthropic-RateLimit-Unified-Status", b"x"),
        (b"anthropic-priority-input-tokens-limit", b"1"),
        (b"anthropic-fast-output-tokens-reset", b"x"),
        (b"retry-after", b"3"),
        (b"x-should-retry", b"true"),
        (b"request-id", b"req_1"),
    ]

    assert headers.client_headers(given_headers) == given_headers[4:]


def test_coding_goes_with_the_coded_body() -> None:
    """Only a body that was decoded here loses its content-encoding."""
    given_headers = [(b"Content-Encoding", b"gzip")]

    assert headers.upstream_headers(given_headers, decoded=True) == [headers.ASK_PLAIN]
    assert headers.upstream_headers(given_headers)[:1] == given_headers
