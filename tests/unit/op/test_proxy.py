"""Requests to OPs through a real proxy, and which requests go through one."""

import ssl
from contextlib import ExitStack
from typing import NamedTuple

import httpx2
import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from oxd_server.op.errors import OpHostRefused, OpUnreachable
from oxd_server.op.observed import OpRequest
from oxd_server.op.proxy import Proxies, make_proxies
from oxd_server.op.reach import Reach, Zone
from oxd_server.op.tls import make_ssl_context
from tests.http_proxy import http_proxy

USER, PASSWORD = "oxd", "proxy-secret-0123456789"
PUBLIC = Reach(Zone.PUBLIC, "https://op.test")


class RunningProxies(NamedTuple):
    """URLs of proxies: one for all, one that asks for a password, and one behind TLS (with a trust store for it)."""

    open: str
    closed: str
    secure: str
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def proxies(tmp_path_factory, authority):
    """Run the proxies for all tests of the module."""
    certificate = authority.issue()
    folder = tmp_path_factory.mktemp("proxies")
    cert, key = folder / "proxy.crt", folder / "proxy.key"
    cert.write_bytes(certificate.pem)
    key.write_bytes(certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with ExitStack() as stack:
        ports = [
            stack.enter_context(http_proxy(tmp_path_factory.mktemp("proxy"), *options))
            for options in (
                (),
                ("--basic-auth", f"{USER}:{PASSWORD}"),
                ("--cert-file", str(cert), "--key-file", str(key)),
            )
        ]
        yield RunningProxies(
            f"http://127.0.0.1:{ports[0]}",
            f"http://127.0.0.1:{ports[1]}",
            f"https://localhost:{ports[2]}",
            make_ssl_context(authority.own.trust_store()),
        )


def named(url):
    """The URL of an OP by a name that only the proxy knows."""
    return url.replace("127.0.0.1", "op.test").replace("localhost", "op.test")


@pytest.fixture
def through(open_transport, proxies):
    """Makes a transport that goes through this proxy, and resolves no name but the proxy's."""

    async def only_the_proxy(host, port):
        assert host in ("127.0.0.1", "localhost"), host
        return ["127.0.0.1"]

    def make(url, auth=None, **settings):
        return open_transport(
            only_the_proxy,
            proxies=make_proxies(url, auth),
            plain_http_hosts=frozenset({"op.test", "198.51.100.1", "10.0.0.1"}),
            **{"ssl_context": proxies.context, **settings},
        )

    return make


async def test_plain_request_through_a_proxy(op, through, proxies):
    """A request without TLS reaches the OP through the proxy, over a kept connection, with the OP's own name."""
    url = named(op.on("GET", "/a?b=c", {"x": 1}))
    async with through(proxies.open) as transport:
        for _ in range(2):
            answer = await transport.send("GET", url, step="s")
            assert (answer.json_object(), answer.zone) == ({"x": 1}, Zone.PUBLIC)
    assert [request.target for request in op.requests] == ["/a?b=c"] * 2
    assert op.requests[0].headers["host"] == named(op.base).removeprefix("http://")


@pytest.mark.parametrize("way", ["open", "secure"])
async def test_tls_through_a_proxy(tls_op, authority, through, proxies, way):
    """With TLS there is a tunnel, also through a proxy behind TLS, and the OP's certificate is that of its name."""
    async with tls_op(authority.issue("op.test")) as op, through(getattr(proxies, way)) as transport:
        url = named(op.on("POST", "/", {"x": 1}))
        for _ in range(2):
            answer = await transport.send("POST", url, step="s", form={"a": "b"})
            assert (answer.json_object(), answer.zone) == ({"x": 1}, Zone.PUBLIC)
        assert [request.form for request in op.requests] == [{"a": "b"}] * 2
        assert op.connections == 1


@pytest.mark.parametrize(
    ("names", "told"), [({"expired": True}, "expired"), ({"host": "other.test"}, "mismatch"), (None, "self-signed")]
)
async def test_certificates_are_checked_behind_the_proxy(
    tls_op, authority, make_authority, through, proxies, names, told
):
    """An OP whose certificate is expired, for another name, or of an unknown authority gets no request."""
    issue = make_authority().issue if names is None else authority.issue
    async with tls_op(issue(**{"host": "op.test", **(names or {})})) as op, through(proxies.open) as transport:
        with pytest.raises(OpUnreachable, match="not trusted") as caught:
            await transport.send("GET", named(op.on("GET", "/", {})), step="s")
        assert not op.requests
    assert caught.value.cause == "tls"
    assert told in caught.value.reason or names is None


async def test_proxy_that_asks_for_a_password(op, tls_op, authority, through, proxies):
    """With its password the proxy passes requests on; the OP does not see it."""
    async with tls_op(authority.issue("op.test")) as secure, through(proxies.closed, (USER, PASSWORD)) as transport:
        for server in (op, secure):
            assert (await transport.send("GET", named(server.on("GET", "/", {})), step="s")).status == 200
            assert "proxy-authorization" not in server.requests[0].headers


@pytest.mark.parametrize("auth", [None, (USER, "wrong")])
async def test_proxy_refuses_the_password(op, tls_op, authority, through, proxies, auth):
    """Without its password the proxy answers 407, and the error says that it is the proxy."""
    told: list[OpRequest] = []
    async with tls_op(authority.issue("op.test")) as secure:
        async with through(proxies.closed, auth, observe=told.append) as transport:
            for server in (op, secure):
                with pytest.raises(OpUnreachable, match=r"the proxy .* 407") as caught:
                    await transport.send("GET", named(server.on("GET", "/", {})), step="s")
                assert caught.value.cause == "proxy"
        assert not op.requests + secure.requests
    assert [one.outcome for one in told] == ["proxy", "proxy"]


async def test_proxy_that_opens_no_way(through, proxies):
    """A proxy that cannot connect to the OP says so."""
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with through(proxies.open) as transport:
            with pytest.raises(OpUnreachable, match="opens no way there: HTTP status 502") as caught:
                await transport.send("POST", f"https://op.test:{port}/", step="s")
    assert caught.value.cause == "proxy"


@pytest.mark.parametrize("url", ["http://op.test/", "https://op.test/"])
async def test_proxy_that_is_not_there(open_transport, through, url):
    """Where nobody listens at the proxy's address, or it has none, the error says that it is the proxy's."""
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with through(f"http://127.0.0.1:{port}") as transport:
            with pytest.raises(OpUnreachable, match=r"nobody listens there \(of the proxy\)") as caught:
                await transport.send("GET", url, step="s")
    assert caught.value.cause == "refused"
    hosts = frozenset({"op.test"})
    async with open_transport(proxies=make_proxies("http://lost.invalid:1"), plain_http_hosts=hosts) as transport:
        with pytest.raises(OpUnreachable, match=r"no address \(of the proxy\)") as caught:
            await transport.send("GET", url, step="s")
    assert caught.value.cause == "dns"


async def test_proxy_whose_certificate_is_not_trusted(through, proxies, system_context):
    """A proxy behind TLS is checked as an OP is."""
    async with through(proxies.secure, ssl_context=system_context) as transport:
        with pytest.raises(OpUnreachable, match=r"not trusted.*\(of the proxy\)"):
            await transport.send("GET", "https://op.test/", step="s")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nearly"])
async def test_proxy_that_is_none(op, through, answer):
    """What does not answer as a proxy gets no further than the question for a tunnel."""
    asked = op.base.removeprefix("http://")

    async def reply(stream):
        await stream.send_all(answer)

    op.raw("CONNECT", "op.test:443", reply)
    async with through(f"http://{asked}") as transport:
        with pytest.raises(Exception, match=r"broke|not HTTP|opens no way"):
            await transport.send("POST", "https://op.test/", step="s")


async def test_silent_proxy_times_out(op, through):
    """A proxy that does not answer is given up when connecting takes too long."""

    async def hang(stream):
        await trio.sleep_forever()

    op.raw("CONNECT", "op.test:443", hang)
    async with through(op.base, connect_timeout=0.1) as transport:
        with pytest.raises(OpUnreachable, match="timed out") as caught:
            await transport.send("POST", "https://op.test/", step="s")
    assert caught.value.cause == "timeout"


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "192.168.7.8", "169.254.169.254", "[::ffff:10.0.0.1]", "0xa.1", "167772161"]
)
async def test_addresses_are_checked_before_the_proxy(op, through, host):
    """An OP at a public address cannot name an inner address, however it is spelt; the proxy is not asked."""
    async with through(op.base) as transport:
        with pytest.raises(OpHostRefused):
            await transport.send("GET", f"https://{host}/", step="s", within=PUBLIC)
    assert not op.requests


async def test_metadata_service_is_not_asked_for(op, through):
    """A caller may name an inner address; a cloud's metadata service nobody may."""
    op.raw("CONNECT", "10.0.0.1:443", lambda stream: stream.send_all(b"HTTP/1.1 403 No\r\n\r\n"))
    async with through(op.base) as transport:
        with pytest.raises(OpHostRefused):
            await transport.send("GET", "https://169.254.169.254/", step="s")
        with pytest.raises(OpUnreachable, match="403"):
            await transport.send("GET", "https://10.0.0.1/", step="s")
    assert [request.target for request in op.requests] == ["10.0.0.1:443"]


async def test_this_machine_is_reached_directly(op, open_transport):
    """A proxy's loopback is another machine's, so nothing on loopback goes through it."""
    async with open_transport(proxies=make_proxies("http://lost.invalid:1")) as transport:
        assert (await transport.send("GET", op.on("GET", "/", {}), step="s")).zone is Zone.LOOPBACK


A, B = "http://a.example:8118", "https://b.example"


def chosen(proxies: Proxies, url: str) -> str | None:
    proxy = proxies.of(httpx2.URL(url))
    return None if proxy is None else str(proxy.url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://op.example/", A), ("http://op.example/", A), ("https://own.example/", B),
        ("https://x.own.example/", A), ("https://op.dotted.example/", None),
        ("https://own.example:8443/", None), ("https://inner.corp/", None), ("https://op.inner.corp/", None),
        ("https://notinner.corp/", A), ("https://sub.star.example/", None), ("https://10.1.2.3/", None),
        ("https://11.1.2.3/", A), ("https://[fd00::1]/", None), ("https://ported.example:8443/", None),
        ("https://ported.example/", A), ("https://kept.corp/", A), ("http://localhost/", None), ("http://[::1]/", None),
        ("http://op.localhost/", None), ("http://127.0.0.9:80/", None), ("https://10.9.9.9:444/", None),
    ],
)  # fmt: skip
def test_which_proxy(url, expected):
    """Hosts with a proxy of their own come first, then what needs none, then the proxy for all."""
    hosts = {"own.example": B, "own.example:8443": "direct", "KEPT.corp": A}
    no_proxy = ["inner.corp", "*.star.example", ".dotted.example", "10.0.0.0/8", "fd00::/8", "ported.example:8443", " "]
    assert chosen(make_proxies(A, None, hosts, no_proxy), url) == expected


def test_star_is_everything():
    """`*` in no_proxy leaves the proxies to the hosts that have their own."""
    proxies = make_proxies(A, None, {"own.example": B}, ["*"])
    assert (chosen(proxies, "https://op.example/"), chosen(proxies, "https://own.example/")) == (None, B)


@pytest.mark.parametrize(
    ("entry", "url"), [("10.0.0.0/8:443", "https://10.1.1.1/"), ("[fd00::1]:443", "https://[fd00::1]/")]
)
def test_networks_with_a_port(entry, url):
    """A port can stand behind an address as well."""
    proxies = make_proxies(A, no_proxy=[entry])
    assert (chosen(proxies, url), chosen(proxies, url[:-1] + ":8443/")) == (None, A)


def test_environment():
    """The environment counts for what is not set otherwise; https and http may have different proxies there."""
    environment = {"https": "c.example:8080", "all": "http://u:p%40ss@d.example", "no": "inner.corp, 10.0.0.0/8"}
    proxies = make_proxies(environment=environment)
    assert chosen(proxies, "https://op.example/") == "http://c.example:8080"
    assert chosen(proxies, "http://op.example/") == "http://d.example"
    proxy = proxies.of(httpx2.URL("http://op.example/"))
    assert proxy is not None
    assert proxy.auth == ("u", "p@ss")
    assert "p@ss" not in repr(proxy)
    assert chosen(proxies, "https://inner.corp/") is None
    assert chosen(make_proxies(A, environment=environment), "https://op.example/") == A


def test_password_goes_to_its_proxy_only():
    """The proxy for all gets its credentials, also where it is named for a host; another one does not."""
    proxies = make_proxies(A, (USER, PASSWORD), {"again.example": A, "own.example": B})
    auths = [proxies.of(httpx2.URL(f"https://{host}.example/")) for host in ("op", "again", "own")]
    assert [proxy and proxy.auth for proxy in auths] == [(USER, PASSWORD), (USER, PASSWORD), None]


@pytest.mark.parametrize(
    "url", ["socks5://u:secret@p.example", "http://u:secret@", "http://u:secret@p.example/path", "http://["]
)
def test_what_is_no_proxy(url):
    """A URL that leads to no proxy is refused, and not repeated, for it may hold a password."""
    for where in ({"url": url}, {"by_host": {"op": url}}, {"environment": {"https": url}}):
        with pytest.raises(ValueError, match="not the URL of a proxy") as caught:
            make_proxies(**where)
        assert "secret" not in str(caught.value)


def test_what_is_no_exception():
    """An entry of no_proxy with a port that is none stops the start."""
    with pytest.raises(ValueError, match="no_proxy"):
        make_proxies(A, no_proxy=["op.example:https"])
