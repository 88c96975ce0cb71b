"""Sites in the legacy JSON shape: complete when written, forgiving when read."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxd_server.client_metadata import ClientMetadata
from oxd_server.store import Site, SiteSession, StoreError, UmaResource, export_site, import_site

LEGACY_TEXT = """
    oxd_id op_host op_discovery_path id_token authorization_redirect_uri logout_redirect_uri application_type
    redirect_uris claims_redirect_uri response_types front_channel_logout_uri client_id client_secret
    client_registration_access_token client_registration_client_uri client_id_issued_at client_secret_expires_at
    client_name sector_identifier_uri client_jwks_uri token_endpoint_auth_signing_alg token_endpoint_auth_method
    is_setup_client setup_oxd_id setup_client_id scope ui_locales claims_locales acr_values grant_types contacts
    user_id user_secret pat pat_expires_in pat_created_at pat_refresh_token uma_protected_resources rpt
    rpt_token_type rpt_pct rpt_upgraded rpt_expires_at rpt_created_at oxd_rp_programming_language"""
LEGACY_NAMES = set(LEGACY_TEXT.split())

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=8)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: words,
    str | None: st.none() | words,
    tuple[str, ...]: st.lists(words, max_size=3).map(tuple),
    bool: st.booleans(),
    int: st.integers(0, 2**53),
    int | None: st.none() | st.integers(0, 2**53),
}
resources = st.builds(UmaResource, **{field.name: BY_TYPE[field.type] for field in msgspec.structs.fields(UmaResource)})
BY_TYPE[tuple[UmaResource, ...]] = st.lists(resources, max_size=2).map(tuple)
BY_TYPE |= {
    bool | None: st.none() | st.booleans(),
    dict[str, str] | None: st.none() | st.dictionaries(words, words, min_size=1, max_size=2),
    dict[str, Any] | None: st.none() | st.dictionaries(words, st.lists(st.integers()), min_size=1, max_size=2),
}
uris = st.lists(words, max_size=3, unique=True).map(tuple)
clients = st.builds(
    ClientMetadata,
    **{field.name: BY_TYPE[field.type] for field in msgspec.structs.fields(ClientMetadata)}
    | {"redirect_uris": uris, "post_logout_redirect_uris": uris},
)
BY_TYPE[ClientMetadata] = clients
sites = st.builds(Site, **{field.name: BY_TYPE[field.type] for field in msgspec.structs.fields(Site)})
sessions = st.builds(
    SiteSession,
    **{
        field.name: BY_TYPE[field.type]
        for field in msgspec.structs.fields(SiteSession)
        if field.name != "named_states"  # of no use to another server
    },
)


@given(site=sites, session=sessions)
def test_import_undoes_export(site: Site, session: SiteSession) -> None:
    """What is exported, as JSON, is imported as the same site and session, but for its share and its key."""
    site = msgspec.structs.replace(site, registered_from=None, dpop_key=None)
    if site.client.trusted_client is None:  # which is written as false
        site = msgspec.structs.replace(site, client=msgspec.structs.replace(site.client, trusted_client=False))
    assert import_site(json.loads(json.dumps(export_site(site, session)))) == (site, session)


def test_export_has_every_legacy_key() -> None:
    """Every legacy key is there, null where nothing is known, dates 0, lists as lists; obsolete RPTs stay null."""
    node = export_site(
        Site(oxd_id="x", op_host="https://op", client=ClientMetadata(scope="openid")), SiteSession(id_token="t")
    )
    assert set(node) >= LEGACY_NAMES
    assert node["scope"] == ["openid"]
    assert node["id_token"] == "t"
    assert node["client_id_issued_at"] == 0
    assert node["client_name"] is None
    assert node["rpt"] is None


def test_import_of_nulls_everywhere() -> None:
    """A legacy file with null under every key but the id is an empty site."""
    node = dict.fromkeys(LEGACY_NAMES) | {"oxd_id": "x"}
    assert import_site(node) == (Site(oxd_id="x", op_host=""), SiteSession())
    assert import_site({"oxd_id": "x"}) == (Site(oxd_id="x", op_host=""), SiteSession())


def test_import_is_liberal() -> None:
    """Blanks, single texts, texts for flags, old spellings of resources, unknown keys: all are understood."""
    site, session = import_site(
        {
            "oxd_id": " x ",
            "op_host": "https://op",
            "acr_values": [""],
            "scope": ["openid", None, "profile"],
            "redirect_uris": ["https://rp/cb"],
            "front_channel_logout_uri": "https://rp/front",
            "post_logout_redirect_uri": "https://rp/out",
            "is_setup_client": "true",
            "pat": "p",
            "pat_expires_in": "300",
            "rpt": "somebody else's",
            "uma_protected_resources": [
                {
                    "id": "1",
                    "path": "/a",
                    "httpMethods": ["GET"],
                    "scopes": None,
                    "ticketScopes": ["t"],
                    "scopeExpressions": [{"rule": {"var": 0}, "data": ["s"]}],
                }
            ],
            "unknown": {"a": 1},
        }
    )
    expression = '{"rule": {"var": 0}, "data": ["s"]}'
    resource = UmaResource(id="1", path="/a", http_methods=("GET",), ticket_scopes=("t",), scope_expression=expression)
    assert site == Site(
        oxd_id="x",
        op_host="https://op",
        client=ClientMetadata(
            scope="openid profile",
            redirect_uris=("https://rp/cb",),
            frontchannel_logout_uri=("https://rp/front",),
            post_logout_redirect_uris=("https://rp/out",),
        ),
        is_setup_client=True,
        uma_protected_resources=(resource,),
    )
    assert session == SiteSession(pat="p", pat_expires_in=300)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (1528965984000, 1528965984000),
        ("1528965984000", 1528965984000),
        ("2018-06-14T08:46:24Z", 1528965984000),
        ("2018-06-14T08:46:24.000+0000", 1528965984000),
        ("2018-06-14T10:46:24+02:00", 1528965984000),
        ("2018-06-14T08:46:24", 1528965984000),
        ("0001-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00", 0),
        ("-5", 0),
        (-5, 0),
        (0, 0),
        (None, 0),
        ("", 0),
    ],
)
def test_dates_in_all_their_shapes(date: object, expected: int) -> None:
    """Milliseconds, their digits, ISO 8601 with or without a zone, and the ways of saying unknown."""
    site, _ = import_site({"oxd_id": "x", "client_secret_expires_at": date})
    assert site.client_secret_expires_at == expected


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({}, "no oxd_id"),
        ({"oxd_id": "  "}, "no oxd_id"),
        ({"oxd_id": "x", "client_id_issued_at": "hidden-word"}, "client_id_issued_at"),
        ({"oxd_id": "x", "pat_expires_in": {"hidden-word": 1}}, "pat_expires_in"),
        ({"oxd_id": "x", "uma_protected_resources": ["hidden-word"]}, "uma_protected_resources"),
    ],
)
def test_what_cannot_be_imported(node: dict[str, Any], expected: str) -> None:
    """A site without an id, or with a value nothing can be made of, is an error that names the key only."""
    with pytest.raises(StoreError, match=expected) as caught:
        import_site(node)
    assert "hidden" not in str(caught.value)


def test_a_protected_resource_is_written_as_the_old_server_wrote_it() -> None:
    """Scopes of the ticket under ``ticketScopes``, the expression as a list of JSON texts, which may be empty."""
    expression = '{"rule":{"var":0},"data":["all"]}'
    plain = UmaResource(id="1", path="/photo", http_methods=("GET",), scopes=("view",), ticket_scopes=("view",))
    ruled = UmaResource(id="2", path="/doc", http_methods=("GET",), ticket_scopes=("all",), scope_expression=expression)
    site = Site(oxd_id="x", op_host="https://op", uma_protected_resources=(plain, ruled))
    assert export_site(site, SiteSession())["uma_protected_resources"] == [
        {
            "id": "1", "path": "/photo", "http_methods": ["GET"], "scopes": ["view"], "ticketScopes": ["view"],
            "scope_expressions": [],
        },
        {
            "id": "2", "path": "/doc", "http_methods": ["GET"], "scopes": [], "ticketScopes": ["all"],
            "scope_expressions": [expression],
        },
    ]  # fmt: skip


def test_what_the_old_server_did_not_know_is_written_where_it_is_set() -> None:
    """A get_rp answer does not grow by keys that say nothing; those of the client have their registered names."""
    bare = export_site(Site(oxd_id="x", op_host="https://op"), SiteSession())
    client = ClientMetadata(logo_uri="https://rp/logo", post_logout_redirect_uris=("https://rp/a", "https://rp/b"))
    more = export_site(Site(oxd_id="x", op_host="https://op", client=client), SiteSession())
    assert set(more) - set(bare) == {"logo_uri", "post_logout_redirect_uris"}
    assert more["logout_redirect_uri"] == "https://rp/a"


def test_an_export_of_an_earlier_version_is_read() -> None:
    """The redirect URI comes first, whatever the order in the list; response types stay as they were listed."""
    node = {
        "oxd_id": "x",
        "authorization_redirect_uri": "https://rp/b",
        "redirect_uris": ["https://rp/a", "https://rp/b"],
        "logout_redirect_uri": "https://rp/out",
        "response_types": ["code", "id_token"],
        "acr_values": ["basic"],
        "client_jwks_uri": "https://rp/jwks",
    }
    client = import_site(node)[0].client
    assert client.redirect_uris == ("https://rp/b", "https://rp/a")
    assert client.post_logout_redirect_uris == ("https://rp/out",)
    assert (client.response_types, client.response_type) == (("code", "id_token"), "code id_token")
    assert (client.default_acr_values, client.jwks_uri) == (("basic",), "https://rp/jwks")
