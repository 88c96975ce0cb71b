"""Discovery: which URL is asked, what is accepted, and how long it is kept."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from oxd_server.op.cache import MAX_LIFETIME, MIN_LIFETIME, RETRY_INTERVAL, STALE_LIFETIME, lifetime_of
from oxd_server.op.discovery import (
    WELL_KNOWN,
    DiscoveryCache,
    ProviderMetadata,
    discovery_url,
    normalize_op_host,
    required,
    supports_s256,
)
from oxd_server.op.errors import InvalidOpHost, OpErrorResponse, OpInvalidResponse, OpMetadataMissing, OpUnreachable
from oxd_server.op.reach import Reach, Zone
from oxd_server.op.settings import OpSettings
from oxd_server.op.tls import make_ssl_context

TARGET = WELL_KNOWN


@pytest.mark.parametrize(
    ("op_host", "expected"),
    [
        ("op.example", "https://op.example"),
        (" https://op.example/ ", "https://op.example"),
        ("https://op.example///", "https://op.example"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("localhost:8080", "https://localhost:8080"),
        ("https://op.example/realms/x/", "https://op.example/realms/x"),
        ("https://op.example/.well-known/openid-configuration", "https://op.example"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("HTTPS://OP.Example:443/Realms/X", "https://op.example/Realms/X"),
        ("HTTP://LocalHost:8080", "http://localhost:8080"),
        ("https://op.example/.well-known/openid-configuration/", "https://op.example"),
    ],
)
def test_op_host_is_normalized(op_host, expected):
    """https is meant where no scheme is given, and slashes at the end do not count."""
    assert normalize_op_host(op_host) == expected


@pytest.mark.parametrize(
    "op_host",
    [
        "", "   ", "/", "https://", "ftp://op.example", "https://user@op.example", "https://op.example?x=1",
        "https://op.example#x", "https://op.example:port", "https://op.example:99999", "https://op example",
        "https://op.example\\x", "https://op.exämple", "https://[::1", "javascript://op.example", "https://op\n.example",
    ],
)  # fmt: skip
def test_op_host_that_is_none(op_host):
    """What is no http(s) URL of a host, or has more in it than host, port and path, is refused."""
    with pytest.raises(InvalidOpHost):
        normalize_op_host(op_host)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (None, "https://op" + WELL_KNOWN),
        ("", "https://op" + WELL_KNOWN),
        ("/", "https://op" + WELL_KNOWN),
        ("/realms/x", "https://op/realms/x" + WELL_KNOWN),
        ("realms/x/", "https://op/realms/x" + WELL_KNOWN),
        ("/realms/x" + WELL_KNOWN, "https://op/realms/x" + WELL_KNOWN),
        (WELL_KNOWN, "https://op" + WELL_KNOWN),
    ],
)
def test_discovery_url(path, expected):
    """The well-known name is appended to host and path unless the path ends with it."""
    assert discovery_url("op", path) == expected


@pytest.mark.parametrize("path", ["x?y", "x#y", "x y", "x\\y"])
def test_discovery_path_that_is_none(path):
    """A path with a query, a fragment or other characters than a URL has is refused."""
    with pytest.raises(InvalidOpHost, match="op_discovery_path"):
        discovery_url("op", path)


def test_missing_endpoint_is_named():
    """A step that needs an endpoint which the OP does not have says which one."""
    metadata = ProviderMetadata(
        issuer="https://op", token_endpoint="https://op/token", unusable={"jwks_uri": "is not an http or https URL"}
    )
    assert required(metadata, "token_endpoint") == "https://op/token"
    with pytest.raises(OpMetadataMissing, match="no userinfo_endpoint"):
        required(metadata, "userinfo_endpoint")
    with pytest.raises(OpMetadataMissing, match="jwks_uri is not an http"):
        required(metadata, "jwks_uri")


def test_defaults_of_the_specification():
    """What an OP leaves out has the default that the specification gives."""
    metadata = ProviderMetadata(issuer="https://op")
    assert metadata.token_endpoint_auth_methods_supported == ("client_secret_basic",)
    assert metadata.id_token_signing_alg_values_supported == ("RS256",)
    assert not supports_s256(metadata)


@pytest.fixture
def discovery(transport, clock):
    return DiscoveryCache(transport, clock, lifetime=600)


async def test_metadata_is_read(op, discovery):
    """The metadata is what the OP says; unknown and null members do not matter."""
    document = {
        "issuer": op.base,
        "token_endpoint": f"{op.base}/token",
        "code_challenge_methods_supported": ["S256"],
        "userinfo_endpoint": None,
        "something_new": {"x": 1},
    }
    op.on("GET", TARGET, document)
    metadata = await discovery.get(op.base)
    assert (metadata.issuer, metadata.token_endpoint) == (op.base, f"{op.base}/token")
    assert metadata.userinfo_endpoint is None
    assert supports_s256(metadata)


async def test_path_is_part_of_the_issuer(op, discovery):
    """With a discovery path the issuer is host and path, and another path is another OP."""
    for name in ("a", "b"):
        op.on("GET", f"/{name}{WELL_KNOWN}", {"issuer": f"{op.base}/{name}"})
    assert (await discovery.get(op.base, "a")).issuer == f"{op.base}/a"
    assert (await discovery.get(op.base, "/b")).issuer == f"{op.base}/b"


async def test_issuer_may_end_with_a_slash(op, discovery):
    """The slash that is taken off before the well-known name is appended may be in the issuer."""
    op.on("GET", TARGET, {"issuer": op.base + "/"})
    assert (await discovery.get(op.base)).issuer == op.base + "/"


async def test_issuer_in_another_spelling(op, discovery):
    """Letter case of scheme and host make no other issuer; tokens are compared with what the OP wrote."""
    op.on("GET", TARGET, {"issuer": op.base.upper()})
    assert (await discovery.get(op.base)).issuer == op.base.upper()


async def test_metadata_says_where_it_came_from(op, discovery):
    """How far the OP may lead is our own finding, whatever a member of that name says."""
    op.on("GET", TARGET, {"issuer": op.base, "reach": {"zone": 4, "origin": "https://elsewhere"}})
    metadata = await discovery.get(op.base)
    assert metadata.reach == Reach(Zone.LOOPBACK, op.base)


async def test_redirected_discovery(op, discovery):
    """A redirect of the metadata is followed; the issuer is the one that was asked for."""
    op.on("GET", TARGET, {}, status=301, headers={"location": TARGET + "/"})
    op.on("GET", TARGET + "/", {"issuer": op.base})
    assert (await discovery.get(op.base)).issuer == op.base


@pytest.mark.parametrize("issuer", ["https://evil.example", "{base}/x", "{base}//", ""])
async def test_another_issuer_is_refused(op, discovery, issuer):
    """An issuer that is not the URL that was asked is refused."""
    op.on("GET", TARGET, {"issuer": issuer.format(base=op.base)})
    with pytest.raises(OpInvalidResponse, match="issuer"):
        await discovery.get(op.base)


@pytest.mark.parametrize(
    "document", [{}, {"issuer": 1}, {"issuer": None}, {"token_endpoint": "https://op/t"}, {"issuer": ["https://op"]}]
)
async def test_metadata_that_is_none(op, discovery, document):
    """Metadata without an issuer is refused; the error names it."""
    op.on("GET", TARGET, document)
    with pytest.raises(OpInvalidResponse, match="issuer"):
        await discovery.get(op.base)


async def test_an_error_in_place_of_metadata(op, discovery):
    """An OP that answers an error with status 200 has its words told."""
    op.on("GET", TARGET, {"error": "no_such_realm"})
    with pytest.raises(OpErrorResponse) as caught:
        await discovery.get(op.base)
    assert caught.value.oauth_error == "no_such_realm"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("token_endpoint", "/token", "is not an http or https URL: '/token'"),
        ("token_endpoint", "op.example/token", "is not an http or https URL: 'op.example/token'"),
        ("token_endpoint", ["https://op/t"], "is not a text but a list"),
        ("introspection_endpoint", False, "is not a text but true or false"),
        ("revocation_endpoint", 7, "is not a text but a number"),
        ("jwks_uri", "file:///etc/passwd", "is not an http or https URL: 'file:///etc/passwd'"),
        ("authorization_endpoint", "javascript:alert(1)", "is not an http or https URL: 'javascript:alert(1)'"),
        ("authorization_endpoint", "https://op/a#b", "holds a query or a fragment: 'https://op/a#b'"),
        ("userinfo_endpoint", "https://user:pw@op/", "holds a user name"),
    ],
)
async def test_an_endpoint_that_cannot_be_used(op, discovery, name, value, problem):
    """Only a step that needs the endpoint fails, and its error says which one and why."""
    other = "token_endpoint" if name != "token_endpoint" else "userinfo_endpoint"
    op.on("GET", TARGET, {"issuer": op.base, other: op.base + "/x", name: value})
    metadata = await discovery.get(op.base)
    assert required(metadata, other) == op.base + "/x"
    with pytest.raises(OpMetadataMissing) as caught:
        required(metadata, name)
    assert str(caught.value).startswith(f"the OP's {name} {problem}")


@pytest.mark.parametrize(
    "change",
    [
        {"scopes_supported": "openid"}, {"claims_parameter_supported": "true"}, {"request_parameter_supported": "yes"},
        {"userinfo_endpoint": ""}, {"end_session_endpoint": None}, {"token_endpoint_auth_methods_supported": 7},
        {"token_endpoint_auth_methods_supported": None}, {"token_endpoint_auth_methods_supported": []},
        {"token_endpoint_auth_methods_supported": "client_secret_basic"}, {"response_types_supported": {"code": True}},
        {"token_endpoint_auth_methods_supported": ["client_secret_basic", 7, None, ""]}, {"acr_values_supported": [1]},
        {"id_token_signing_alg_values_supported": "RS256"}, {"id_token_signing_alg_values_supported": [None, "RS256"]},
        {"code_challenge_methods_supported": False}, {"version": 3.0, "x": [[[]]]}, {"userinfo_endpoint": " "},
    ],
)  # fmt: skip
async def test_odd_members_fail_nothing(op, discovery, change):
    """What nobody reads may be anything; a list that is read may be a text, and what is no list is not there."""
    op.on("GET", TARGET, {"issuer": op.base, "token_endpoint": op.base + "/token", **change})
    metadata = await discovery.get(op.base)
    reach = Reach(Zone.LOOPBACK, op.base)
    assert metadata == ProviderMetadata(issuer=op.base, token_endpoint=op.base + "/token", reach=reach)


async def test_another_issuer_that_the_operator_names(op, transport, clock):
    """Where the operator says which issuer belongs to the URL, that one and no other is taken."""
    issuer = "https://login.example/{tenantid}/v2.0"
    settings = {op.base + "/common": OpSettings(issuer=issuer)}
    discovery = DiscoveryCache(transport, clock, settings=lambda url: settings.get(url, OpSettings()))
    op.on("GET", "/common" + TARGET, {"issuer": issuer})
    assert (await discovery.get(op.base, "common")).issuer == issuer
    op.on("GET", TARGET, {"issuer": issuer})
    with pytest.raises(OpInvalidResponse, match="op_issuers"):
        await discovery.get(op.base)
    op.forget()
    clock.now += 10000
    op.on("GET", "/common" + TARGET, {"issuer": op.base + "/common"})
    with pytest.raises(OpInvalidResponse, match="issuer"):
        await discovery.get(op.base, "common")


async def test_https_issuer_with_http_endpoint_is_refused(tls_op, open_transport, authority, clock):
    """An OP that is reached through TLS cannot send us to an endpoint without."""
    context = make_ssl_context(authority.own.trust_store())
    async with tls_op(authority.issue()) as op, open_transport(ssl_context=context) as transport:
        op.on("GET", TARGET, {"issuer": op.base, "token_endpoint": "http://127.0.0.1/token"})
        with pytest.raises(OpMetadataMissing, match="not an https URL"):
            required(await DiscoveryCache(transport, clock).get(op.base), "token_endpoint")


@pytest.mark.parametrize("status", [404, 500])
async def test_error_status(op, discovery, status):
    """An error status is the OP's error."""
    op.on("GET", TARGET, {}, status=status)
    with pytest.raises(OpErrorResponse):
        await discovery.get(op.base)


async def test_fresh_metadata_is_not_asked_for_again(op, discovery, clock):
    """Within its lifetime the metadata comes from the cache; after it, from the OP."""
    op.on("GET", TARGET, {"issuer": op.base})
    assert discovery.cached(op.base) is None
    first = await discovery.get(op.base)
    clock.now += 599
    assert discovery.cached(op.base) is first
    assert await discovery.get(op.base + "/") is first
    assert len(op.requests) == 1
    clock.now += 1
    assert discovery.cached(op.base) is None
    await discovery.get(op.base)
    assert len(op.requests) == 2


async def test_one_fetch_for_many(op, discovery):
    """Many who need the same metadata at once cause one request."""
    go = trio.Event()
    op.on("GET", TARGET, {"issuer": op.base}, before=go.wait)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(discovery.get, op.base)
        await wait_all_tasks_blocked(0.01)
        go.set()
    assert len(op.requests) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_stale_metadata_while_the_op_is_down(op, discovery, clock, status):
    """While the OP reports that it is down, its last metadata is served, and it is asked again only now and then."""
    op.on("GET", TARGET, {"issuer": op.base})
    first = await discovery.get(op.base)
    op.forget()
    op.on("GET", TARGET, {}, status=status)
    clock.now += 600
    assert await discovery.get(op.base) is first
    assert await discovery.get(op.base) is first
    assert len(op.requests) == 1
    clock.now += RETRY_INTERVAL
    assert await discovery.get(op.base) is first
    assert len(op.requests) == 2
    clock.now += STALE_LIFETIME
    with pytest.raises(OpErrorResponse):
        await discovery.get(op.base)


async def test_stale_metadata_while_nobody_answers(op, discovery, clock):
    """The same when connections break."""

    async def hang_up(stream):
        pass

    op.on("GET", TARGET, {"issuer": op.base})
    first = await discovery.get(op.base)
    op.forget()
    op.raw("GET", TARGET, hang_up)
    op.raw("GET", "/other" + TARGET, hang_up)
    clock.now += 600
    assert await discovery.get(op.base) is first
    with pytest.raises(OpUnreachable):
        await discovery.get(op.base, "other")


@pytest.mark.parametrize(("json", "status"), [({}, 404), ({"issuer": "https://evil.example"}, 200)])
async def test_wrong_answers_are_not_covered_by_stale_ones(op, discovery, clock, json, status):
    """An OP that is up and answers wrongly is not hidden behind old metadata."""
    op.on("GET", TARGET, {"issuer": op.base})
    await discovery.get(op.base)
    op.forget()
    op.on("GET", TARGET, json, status=status)
    clock.now += 600
    with pytest.raises((OpErrorResponse, OpInvalidResponse)):
        await discovery.get(op.base)


async def test_cache_is_bounded(op, transport, clock):
    """The cache holds no more OPs than its capacity; the oldest goes first."""
    discovery = DiscoveryCache(transport, clock, capacity=3)
    for number in range(5):
        op.on("GET", f"/{number}{WELL_KNOWN}", {"issuer": f"{op.base}/{number}"})
        await discovery.get(op.base, str(number))
    assert len(discovery._cache) == 3
    assert len(discovery._urls) <= 3
    await discovery.get(op.base, "0")
    assert len(op.requests) == 6


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("", 600), ("public", 600), ("max-age=120", 120), ("public, max-age = 120, must-revalidate", 120),
        ("MAX-AGE=120", 120), ("s-maxage=120", 600), ("max-age=0", MIN_LIFETIME), ("max-age=99999999", MAX_LIFETIME),
        ("max-age=-1", 600), ("no-store", MIN_LIFETIME), ("max-age=120, no-cache", MIN_LIFETIME),
    ],
)  # fmt: skip
def test_lifetime_by_cache_control(control, expected):
    """max-age counts within bounds, no-store and no-cache mean the shortest lifetime, otherwise the default holds."""
    assert lifetime_of({"cache-control": control}, 600) == expected


async def test_lifetime_of_the_answer(op, discovery, clock):
    """The OP's max-age wins over the default."""
    op.on("GET", TARGET, {"issuer": op.base}, headers={"cache-control": "max-age=100"})
    await discovery.get(op.base)
    clock.now += 100
    assert discovery.cached(op.base) is None
