"""`uma_discovery`: where the metadata is, and which metadata is taken."""

import msgspec
import pytest

from oxd_server.op.answer import Answer
from oxd_server.op.discovery import required
from oxd_server.op.errors import InvalidOpHost, OpErrorResponse, OpInvalidResponse, OpMetadataMissing, OpUnreachable
from oxd_server.op.transport import Transport
from oxd_server.op.uma_discovery import UmaDiscoveryCache, UmaMetadata, process_uma_discovery, uma_discovery_url
from tests.clock import Clock
from tests.unit.op.conftest import ScriptedOp

URL = "https://as.example.com/.well-known/uma2-configuration"
DOCUMENT = {
    "issuer": "https://as.example.com",
    "token_endpoint": "https://as.example.com/token",
    "introspection_endpoint": "https://as.example.com/introspect",
    "resource_registration_endpoint": "https://as.example.com/resources",
    "permission_endpoint": "https://as.example.com/permissions",
    "claims_interaction_endpoint": "https://as.example.com/claims",
}


def answer(document: object, status: int = 200) -> Answer:
    return Answer(status, {"content-type": "application/json"}, msgspec.json.encode(document), "as", "UMA discovery")


@pytest.mark.parametrize(
    ("op_host", "path", "url"),
    [
        ("as.example.com", None, URL),
        ("https://as.example.com/", "", URL),
        ("https://as.example.com/.well-known/openid-configuration", None, URL),
        ("https://as.example.com", "realms/a", "https://as.example.com/realms/a/.well-known/uma2-configuration"),
        ("https://as.example.com", "/realms/a", "https://as.example.com/realms/a/.well-known/uma2-configuration"),
    ],
)
def test_url(op_host: str, path: str | None, url: str) -> None:
    """The well-known name follows host and path, whichever way they are written."""
    assert uma_discovery_url(op_host, path) == url


def test_url_of_no_host() -> None:
    """What is no host is refused before anything is asked."""
    with pytest.raises(InvalidOpHost):
        uma_discovery_url("https://")


def test_metadata() -> None:
    """The endpoints are read; members that we do not know, and null ones, are ignored."""
    more = {"policy_endpoint": 7, "uma_profiles_supported": None, "grant_types_supported": "x"}
    metadata = process_uma_discovery(answer({**DOCUMENT, **more}), URL)
    assert msgspec.structs.replace(metadata, reach=None) == msgspec.convert(DOCUMENT, UmaMetadata)
    assert metadata.as_provider.issuer == DOCUMENT["issuer"]
    assert metadata.as_provider.token_endpoint == DOCUMENT["token_endpoint"]
    assert metadata.as_provider.introspection_endpoint == DOCUMENT["introspection_endpoint"]


def test_issuer_may_be_missing() -> None:
    """A server that does not name its issuer is the one that was asked."""
    document = {name: value for name, value in DOCUMENT.items() if name != "issuer"}
    assert process_uma_discovery(answer(document), URL).issuer == "https://as.example.com"
    assert process_uma_discovery(answer({**DOCUMENT, "issuer": "https://as.example.com/"}), URL)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {**DOCUMENT, "issuer": "https://other.example.com"},
        {**DOCUMENT, "issuer": 7},
    ],
)
def test_metadata_that_is_not_taken(document: object) -> None:
    """Metadata of another issuer is refused."""
    with pytest.raises(OpInvalidResponse):
        process_uma_discovery(answer(document), URL)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("token_endpoint", ["https://as.example.com/token"], "is not a text but a list"),
        ("permission_endpoint", "/permissions", "is not an http or https URL: '/permissions'"),
        ("resource_registration_endpoint", "http://as.example.com/r", "is not an https URL, though the issuer is"),
        ("claims_interaction_endpoint", "javascript:alert(1)", "is not an http or https URL"),
        ("introspection_endpoint", "", "the OP publishes no introspection_endpoint"),
    ],
)
def test_an_endpoint_that_cannot_be_used(name: str, value: object, problem: str) -> None:
    """Only a step that needs it fails, and says which one."""
    metadata = process_uma_discovery(answer({**DOCUMENT, name: value}), URL)
    with pytest.raises(OpMetadataMissing, match=problem) as caught:
        required(metadata, name)
    assert caught.value.field == name
    assert [field for field in DOCUMENT if getattr(metadata, field) is None] == [name]


def test_odd_members_fail_nothing() -> None:
    """A text stands for a list, and what is no list is not there."""
    odd = {"introspection_endpoint_auth_methods_supported": "Bearer", "token_endpoint_auth_methods_supported": 7}
    metadata = process_uma_discovery(answer({**DOCUMENT, **odd, "issuer": ""}), URL)
    assert metadata.introspection_endpoint_auth_methods_supported == ("Bearer",)
    assert metadata.token_endpoint_auth_methods_supported == ("client_secret_basic",)
    assert metadata.as_provider.token_endpoint_auth_methods_supported == ("client_secret_basic",)


def test_an_error_in_place_of_metadata() -> None:
    """The words of a server that answers an error with status 200 are told."""
    with pytest.raises(OpErrorResponse):
        process_uma_discovery(answer({"error": "not_found"}), URL)


def test_error_status() -> None:
    """A server without UMA metadata says so with its status."""
    with pytest.raises(OpErrorResponse):
        process_uma_discovery(answer({}, 404), URL)


async def test_cache(op: ScriptedOp, transport: Transport, clock: Clock) -> None:
    """Metadata is fetched once, again after its lifetime, and used while the server is down."""
    cache = UmaDiscoveryCache(transport, clock, lifetime=600)
    op.on("GET", "/.well-known/uma2-configuration", {"issuer": op.base})
    op.on("GET", "/.well-known/uma2-configuration", {}, status=503)
    metadata = await cache.get(op.base)
    assert await cache.get(op.base) is metadata
    assert len(op.requests) == 1
    clock.now += 601
    assert await cache.get(op.base) is metadata
    assert len(op.requests) == 2


async def test_cache_of_a_server_that_was_never_there(transport: Transport, clock: Clock) -> None:
    """Without metadata of old there is nothing to use."""
    with pytest.raises(OpUnreachable):
        await UmaDiscoveryCache(transport, clock).get("http://127.0.0.1:1")
