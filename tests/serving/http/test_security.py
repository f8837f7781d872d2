import pytest

from rag_ft.serving.http.security import Authority, _is_foreign, _target

OWN = [
    "localhost",
    "LocalHost",
    "localhost:8000",
    "127.0.0.1",
    "127.0.0.1:8000",
    "127.0.0.1:65535",
    "127.255.0.9",
    "[::1]",
    "[::1]:8000",
    "[0:0:0:0:0:0:0:1]",
]
OTHERS = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil-localhost",
    "localhost.",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.01",
    "0.0.0.0",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[fe80::1]",
    "192.168.0.1",
    "foo.localhost",
    "127.0.0.1-",
]
NOT_HOSTS = [
    "evil@127.0.0.1",
    "127.0.0.1@evil.example",
    "evil:pass@localhost:80",
    "@127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:80:80",
    "127.0.0.1:8o",
    "127.0.0.1:-1",
    "127.0.0.1:65536",
    "127.0.0.1:\u0661",
    "::1",
    "[::1",
    "::1]",
    "[::1]evil.example",
    "[::1%eth0]",
    "[127.0.0.1]",
    "127.0.0.1/",
    "127.0.0.1/@evil.example",
    "127.0.0.1?a",
    "127.0.0.1#a",
    "127.0.0.1\\evil.example",
    "http://127.0.0.1",
    "127.0.0.1 evil.example",
    " 127.0.0.1",
    "127.0.0.1,evil.example",
    "127%2e0.0.1",
    "localhost%00",
    "l\u00f6calhost",
    "\uff4cocalhost",
    "127.0.0.1\x00",
    "127\u30020.0.1",
    "x" * 300,
]


@pytest.mark.parametrize("host", OWN)
def test_a_host_that_is_this_machine_is_taken_for_it(host):
    assert Authority.parse(host).loopback


@pytest.mark.parametrize("host", OTHERS)
def test_a_host_that_is_another_or_written_in_a_roundabout_way_is_not(host):
    assert not Authority.parse(host).loopback


@pytest.mark.parametrize("host", NOT_HOSTS)
def test_anything_but_a_host_and_port_is_refused(host):
    with pytest.raises(ValueError):
        Authority.parse(host)


def test_two_hosts_are_none():
    with pytest.raises(ValueError):
        _target(["localhost", "localhost"])
    assert _target([]) is None and _target([""]) is None


@pytest.mark.parametrize(
    ("origin", "host", "foreign"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", False),
        ("http://LOCALHOST:8000", "localhost:8000", False),
        ("https://docs.example", "docs.example", False),
        ("https://docs.example", "docs.example:443", False),
        ("http://docs.example:80", "docs.example", False),
        ("http://[::1]:8000", "[::1]:8000", False),
        ("http://127.0.0.1:8001", "127.0.0.1:8000", True),
        ("http://127.0.0.1", "127.0.0.1:8000", True),
        ("http://localhost:8000", "127.0.0.1:8000", True),
        ("https://evil.example", "127.0.0.1:8000", True),
        ("http://127.0.0.1.evil.example:8000", "127.0.0.1:8000", True),
        ("null", "127.0.0.1:8000", True),
        ("chrome-extension://abcdef", "127.0.0.1:8000", True),
        ("file://localhost", "localhost", True),
    ],
)
def test_an_origin_is_foreign_unless_it_is_the_very_host_asked(origin, host, foreign):
    assert _is_foreign([origin], _target([host])) is foreign


@pytest.mark.parametrize(
    "origins",
    [
        ["http://evil@127.0.0.1:8000"],
        ["http://127.0.0.1:8000/"],
        ["http://127.0.0.1:8000/@evil.example"],
        ["127.0.0.1:8000"],
        [""],
        ["http://"],
        ["http://["],
        ["http://127.0.0.1:8000 http://evil.example"],
        ["http://127.0.0.1:8000", "http://127.0.0.1:8000"],
    ],
)
def test_anything_but_an_origin_is_refused(origins):
    with pytest.raises(ValueError):
        _is_foreign(origins, _target(["127.0.0.1:8000"]))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil@127.0.0.1"}, 400),
        ({"host": "127.1"}, 403),
        ({"host": "localhost."}, 403),
        ({"host": "evil.example", "x-forwarded-host": "localhost"}, 403),
        ({"origin": "https://evil.example", "x-forwarded-host": "evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"referer": "https://evil.example/"}, 200),  # says nothing that is believed or disbelieved
        ({"x-forwarded-for": "evil\x1b, 1.2.3.4", "forwarded": "host=evil.example"}, 200),
    ],
)
def test_the_server_believes_host_and_origin_and_no_header_of_a_proxy(serve, headers, status):
    assert serve().get("/v1/about", headers=headers).status_code == status
