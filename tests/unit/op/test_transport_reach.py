"""`Transport` leads only where it may: redirects, addresses behind names, hosts that are allowed."""

import pytest

from oxd_server.op.errors import OpHostRefused, OpInvalidResponse, OpUnreachable
from oxd_server.op.network import Resolver
from oxd_server.op.reach import Reach, Zone, is_loopback
from oxd_server.op.tls import make_ssl_context
from tests.unit.op.replies import addresses

PUBLIC_OP = Reach(Zone.PUBLIC, "http://op.example")


async def test_redirect_is_not_followed(op, transport):
    """A redirect is an invalid response, and its target is not asked."""
    url = op.on("GET", "/", {}, status=302, headers={"location": op.on("GET", "/elsewhere", {})})
    answer = await transport.send("GET", url, step="s")
    with pytest.raises(OpInvalidResponse, match="redirect"):
        answer.expect(200)
    assert [request.target for request in op.requests] == ["/"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirect_of_a_public_document_is_followed(op, transport, status):
    """A redirect is followed where the caller says so, also to a relative URL, up to so many times."""
    for i in range(3):
        op.on("GET", f"/{i}", {}, status=status, headers={"location": f"/{i + 1}" if i else op.base + "/1"})
    op.on("GET", "/3", {"a": 1})
    assert (await transport.send("GET", op.base + "/0", step="s", redirects=3)).json_object() == {"a": 1}
    with pytest.raises(OpInvalidResponse, match="redirect"):
        (await transport.send("GET", op.base + "/0", step="s", redirects=2)).expect(200)


@pytest.mark.parametrize(
    "location", ["http://op.example/", "https://other.example/", "ftp://x/", "http://[", "file:///etc/passwd"]
)
async def test_redirect_to_what_may_not_be_called(op, open_transport, location):
    """A redirect leads only to URLs that could be asked at once."""
    url = op.on("GET", "/", {}, status=301, headers={"location": location})
    async with open_transport(allowed_op_hosts=frozenset({op.base})) as transport:
        with pytest.raises((OpInvalidResponse, OpHostRefused)):
            await transport.send("GET", url, step="s", redirects=3)
    assert len(op.requests) == 1


async def test_redirect_from_https_stays_there(tls_op, authority, op, open_transport):
    """A redirect from https to plain http is not followed, though the target could be asked by itself."""
    context = make_ssl_context(authority.own.trust_store())
    async with tls_op(authority.issue()) as secure, open_transport(ssl_context=context) as transport:
        url = secure.on("GET", "/", {}, status=301, headers={"location": op.on("GET", "/", {})})
        with pytest.raises(OpHostRefused, match="TLS"):
            await transport.send("GET", url, step="s", redirects=3)
    assert not op.requests


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "https://op.example/", "https://[::ffff:10.0.0.1]/"])
@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::a00:1"])
async def test_public_op_leads_to_public_addresses_only(open_transport, url, address):
    """Whatever name an OP at a public address gives, the address that it resolves to decides."""
    async with open_transport(addresses(address)) as transport:
        with pytest.raises(OpHostRefused, match="public"):
            await transport.send("GET", url, step="s", within=PUBLIC_OP)


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "100.100.100.200"])
async def test_metadata_services_are_never_called(open_transport, address):
    """No caller can name a cloud's metadata service, by any name."""
    async with open_transport(addresses(address)) as transport:
        with pytest.raises(OpHostRefused, match="never called"):
            await transport.send("GET", "https://harmless.example/", step="s")


async def test_name_that_changes_its_address(op, open_transport):
    """The address that is checked is the one that is called: each connection asks once, and is refused by itself."""
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    asked = []

    async def changing(host, port):
        asked.append(host)
        return answers.pop(0)

    url = op.on("GET", "/", {}, headers={"connection": "close"}).replace("127.0.0.1", "rebind.example")
    hosts = frozenset({"rebind.example"})
    async with open_transport(changing, plain_http_hosts=hosts) as transport:
        assert (await transport.send("GET", url, step="s")).zone is Zone.LOOPBACK
        with pytest.raises(OpHostRefused):
            await transport.send("GET", url, step="s")
    assert asked == ["rebind.example"] * 2


async def test_connection_is_not_shared_with_those_who_may_not_have_it(op, open_transport):
    """A connection that an OP on loopback has opened is not used for what a public OP names."""
    url = op.on("GET", "/", {})
    async with open_transport() as transport:
        for within in (None, Reach(Zone.LOOPBACK, op.base)):
            assert (await transport.send("GET", url, step="s", within=within)).status == 200
        with pytest.raises(OpHostRefused):
            await transport.send("GET", url, step="s", within=PUBLIC_OP)


async def test_addresses_that_may_not_be_called_are_left_out(op, open_transport):
    """Of a host's addresses only those are tried that may be; a next one where the first does not answer."""
    url = op.on("GET", "/", {}).replace("127.0.0.1", "op.example")
    network = addresses("169.254.169.254", "127.0.0.2", "127.0.0.1")
    async with open_transport(network, plain_http_hosts=frozenset({"op.example"})) as transport:
        assert (await transport.send("GET", url, step="s")).status == 200


async def test_addresses_of_the_system():
    """The system is asked for names; an address is its own."""
    resolver = Resolver()
    assert "127.0.0.1" in await resolver.addresses("localhost", 80)
    assert await resolver.addresses("::1", 80) == ["::1"]
    for spelling in ("2130706433", "0x7f.1", "127.1"):  # so the zone of 127.0.0.1 counts, however it is written
        assert await resolver.addresses(spelling, 80) == ["127.0.0.1"]
    with pytest.raises(OSError):
        await resolver.addresses("nowhere.invalid", 80)


async def test_localhost_means_this_machine(open_transport):
    """Plain http is allowed for localhost by its name, so it is not used when the name leads elsewhere."""
    async with open_transport(addresses("10.0.0.1")) as transport:
        with pytest.raises(OpHostRefused):
            await transport.send("GET", "http://localhost:9/", step="s")


@pytest.mark.parametrize("error", [OSError("no such host"), UnicodeError("label too long")])
async def test_host_without_an_address(open_transport, error):
    """A host that cannot be resolved is unreachable."""

    async def fail(host, port):
        raise error

    async with open_transport(fail) as transport:
        with pytest.raises(OpUnreachable, match="no connection"):
            await transport.send("GET", "https://nowhere.example/", step="s")


@pytest.mark.parametrize("allowed", ["op.example", "127.0.0.2", "127.0.0.1:1", "https://op.example/", "OP.example:443"])
async def test_host_that_is_not_allowed_is_not_contacted(op, open_transport, allowed):
    """With allowed_op_hosts set, another host is refused before a connection is made."""
    async with open_transport(allowed_op_hosts=frozenset({allowed})) as transport:
        with pytest.raises(OpHostRefused, match="allowed_op_hosts"):
            await transport.send("GET", op.on("GET", "/", {}), step="s")
    assert op.connections == 0


async def test_allowed_port_is_exact(open_transport):
    """Where a port is written, or a scheme that has one, no other port is meant."""
    for entry in ("op.example:443", "https://op.example", "HTTPS://op.example:443/"):
        async with open_transport(allowed_op_hosts=frozenset({entry})) as transport:
            assert transport.check_url("https://op.example/").host == "op.example"
            with pytest.raises(OpHostRefused):
                transport.check_url("https://op.example:8443/")


@pytest.mark.parametrize("form", ["127.0.0.1", "{host}", "http://{host}", "http://{host}/path"])
async def test_allowed_host_is_contacted(op, open_transport, form):
    """An allowed host may be written as a name, with its port, or as a URL."""
    allowed = form.format(host=op.base.removeprefix("http://"))
    async with open_transport(allowed_op_hosts=frozenset({allowed})) as transport:
        assert (await transport.send("GET", op.on("GET", "/", {}), step="s")).status == 200


async def test_allowed_hosts_of_other_forms(open_transport):
    """IPv6 addresses are allowed as they are written in URLs; an entry that is no host stops the start."""
    async with open_transport(allowed_op_hosts=frozenset({"[::1]", "OP.example"})) as transport:
        assert transport.check_url("http://[::1]:8080/").port == 8080
        assert transport.check_url("https://op.example:8443/").host == "op.example"
    for entry in ("", "https://", "a b", "op.example:port"):
        with pytest.raises(ValueError, match="no host"):
            open_transport(allowed_op_hosts=frozenset({entry}))


@pytest.mark.parametrize(
    "url",
    [
        "http://op.example/", "http://10.0.0.1/", "http://127.0.0.1.op.example/", "http://localhost.example/",
        "ftp://127.0.0.1/", "file:///etc/passwd", "https://user:pw@127.0.0.1/", "nonsense", "https://", "https://[/",
        "http://op.example\\@127.0.0.1/", "https://a\nb/", "https://op.example:65536/", "http://127.1/",
        "http://2130706433/", "http://localhost./", "http://127.0.0.1%00.example/",
    ],
)  # fmt: skip
async def test_url_that_is_not_allowed(transport, url):
    """Plain HTTP beyond loopback, other schemes, users in URLs and nonsense are refused before anything is sent."""
    with pytest.raises(OpHostRefused):
        transport.check_url(url)


async def test_plain_http_where_it_is_configured(open_transport):
    """A host that the configuration names may be contacted without TLS."""
    async with open_transport(plain_http_hosts=frozenset({"op.example"})) as transport:
        assert transport.check_url("http://op.example:8080/x").host == "op.example"
        with pytest.raises(OpHostRefused):
            transport.check_url("http://other.example/")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False), ("op", False)],
)
def test_loopback_by_name_or_address(host, expected):
    """Loopback is `localhost`, 127.0.0.0/8 and ::1."""
    assert is_loopback(host) is expected
