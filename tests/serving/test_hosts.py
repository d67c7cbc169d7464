"""The Host header of a request to a server on loopback."""

from __future__ import annotations

import pytest

from serving.hosts import ANY, LOOPBACK, BadHost, check_host


@pytest.mark.parametrize(
    "header",
    ["localhost", "localhost:3000", "LOCALHOST:3000", "localhost.", "localhost.:80", "127.0.0.1", "127.0.0.1:3000",
     "[::1]", "[::1]:3000", "localhost:"],
)  # fmt: skip
def test_names_of_this_machine(header: str) -> None:
    check_host(header, LOOPBACK)


@pytest.mark.parametrize(
    "header",
    ["evil.example", "localhost.evil.example", "evil.localhost", "127.0.0.1.nip.io", "127.0.0.2", "0.0.0.0", "::1",
     "[::2]", "localhost@evil.example", "evil.example#localhost", "localhost:3000:1", "localhost:port",
     "localhost:123456", "localhost, evil.example", "localhost evil.example", " localhost", "localhost\n", "*", "[*]",
     "lоcalhost"],  # the last has a Cyrillic о
)  # fmt: skip
def test_other_names(header: str) -> None:
    with pytest.raises(BadHost) as caught:
        check_host(header, LOOPBACK)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "bad_host", "Host")
    assert caught.value.given == header


@pytest.mark.parametrize("header", [None, ""])
def test_no_name(header: str | None) -> None:
    with pytest.raises(BadHost, match="no Host"):
        check_host(header, LOOPBACK)


def test_what_an_operator_allows() -> None:
    check_host("Models.Example.org:443", ["models.example.ORG"])
    check_host("anything", [ANY])
    check_host(None, [ANY])
    with pytest.raises(BadHost):
        check_host("localhost", ["models.example.org"])


def test_little_is_sent_back() -> None:
    with pytest.raises(BadHost) as caught:
        check_host("a" * 5000, LOOPBACK)
    assert len(caught.value.message) < 200 and len(caught.value.given) == 100
