"""A file of version 1 of the tables, written by the server of that time, is brought up to date when it is opened."""

import hashlib
import sqlite3
from pathlib import Path

import pytest

from oxd_server.client_metadata import ClientMetadata
from oxd_server.store import Site, SiteSession, StoreError, UmaResource, open_store

VERSION_1 = Path(__file__).with_name("version1.sql").read_text("utf-8")
FULL = Site(
    oxd_id="full",
    op_host="https://op.example.org",
    op_discovery_path="realms/shop",
    client=ClientMetadata(
        redirect_uris=("https://app.example/cb", "https://app.example/other"),
        response_types=("code id_token",),
        grant_types=("authorization_code", "refresh_token"),
        application_type="web",
        contacts=("ops@app.example",),
        client_name="Jörg's shop \u2603",
        jwks_uri="https://app.example/jwks",
        sector_identifier_uri="https://app.example/sector",
        id_token_signed_response_alg="ES256",
        userinfo_signed_response_alg="RS256",
        token_endpoint_auth_method="client_secret_post",
        token_endpoint_auth_signing_alg="RS256",
        default_acr_values=("basic",),
        request_uris=("https://app.example/request",),
        scope="openid email",
        post_logout_redirect_uris=("https://app.example/bye",),
        frontchannel_logout_uri=("https://app.example/front",),
        claims_redirect_uris=("https://app.example/claims",),
        ui_locales=("de",),
        claims_locales=("fr",),
        trusted_client=True,
    ),
    client_id="client-1",
    client_secret=" made-up secret ",
    client_id_issued_at=1_500_000_000_000,
    client_secret_expires_at=4_000_000_000_000,
    client_registration_access_token="made-up-token",
    client_registration_client_uri="https://op.example.org/register/1",
    registered_metadata='{"client_name":"Shop","invented":1}',
    setup_oxd_id="setup",
    setup_client_id="client-s",
    user_id="u",
    user_secret="made-up-user",
    oxd_rp_programming_language="php",
    uma_protected_resources=(
        UmaResource(
            id="r1",
            path="/photo",
            http_methods=("GET",),
            scopes=("view",),
            ticket_scopes=("view",),
            scope_expression='{"rule": {"var": 0}, "data": ["view"]}',
        ),
    ),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    connection = sqlite3.connect(tmp_path / "oxd.sqlite")
    connection.executescript(VERSION_1)
    connection.close()
    return tmp_path / "oxd.sqlite"


def damage(path: Path, statement: str) -> bytes:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return hashlib.sha256(path.read_bytes()).digest()


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(version)


async def test_every_site_is_as_it_was(path: Path) -> None:
    """Sites, sessions, secrets and used values are there; what a client asks for lies under its registered names."""
    async with open_store(path) as store:
        assert await store.get("full") == FULL
        assert await store.get("bare") == Site(oxd_id="bare", op_host="https://op.example.org")
        assert [site.oxd_id for site in await store.setup_clients("https://op.example.org", 10)] == ["setup"]
        assert await store.list() == [("bare", ""), ("full", "Jörg's shop \u2603"), ("setup", "Setup")]
        assert [site.oxd_id for site in await store.sites_of_client("https://op.example.org", "client-1", 10)] == [
            "full"
        ]
        pat = SiteSession(id_token="made.up.token", subject="alice", pat="made-up-pat", pat_expires_in=300)
        assert await store.session("full") == pat
        assert await store.secret("state", lambda: b"another") == b"k" * 32
        assert not await store.spend(b"used", 4e9, 1e9)
    assert version_of(path) == 2


async def test_it_happens_once(path: Path) -> None:
    """A file that has been brought up to date is opened as it is."""
    for _ in range(2):
        async with open_store(path) as store:
            assert await store.get("full") == FULL


async def test_more_sites_than_are_read_at_once(path: Path) -> None:
    """Every row is rewritten, however many there are, an empty oxd_id included."""
    with sqlite3.connect(path) as connection:
        rows = [
            (oxd_id, f'{{"oxd_id":"{oxd_id}","op_host":"https://op","scope":["openid","s{number}"]}}')
            for number, oxd_id in enumerate(["", *(f"site-{number}" for number in range(1001))])
        ]
        connection.executemany("INSERT INTO site VALUES (?, 'https://op', '', 0, ?)", rows)
    connection.close()
    async with open_store(path) as store:
        for number in (0, 200, 201, 1001):
            site = await store.get(rows[number][0])
            assert site is not None
            assert site.client == ClientMetadata(scope=f"openid s{number}")


@pytest.mark.parametrize(
    "document",
    [
        '{"oxd_id":"full","client_secret":"hidden-word',
        '["hidden-word"]',
        '{"oxd_id":"hidden-word","op_host":"https://op"}',
        '{"oxd_id":"full","op_host":"https://op","scope":"hidden-word","contacts":5}',
        '{"oxd_id":"full","op_host":"https://op","response_types":[5]}',
        '{"oxd_id":"full","op_host":"https://op","redirect_uris":7}',
        '{"oxd_id":"full","op_host":"https://op","redirect_uris":[["hidden-word"]]}',
        '{"oxd_id":"full","op_host":"https://op","scope":[1]}',
    ],
)
async def test_a_damaged_site_stops_it(path: Path, document: str) -> None:
    """One error names the site and shows nothing of it; the file is as it was, to the byte."""
    before = damage(path, f"UPDATE site SET json = '{document}' WHERE oxd_id = 'full'")
    with pytest.raises(StoreError, match=r"damaged site 'full'.*nothing was changed") as caught:
        async with open_store(path):
            pass
    assert "hidden" not in str(caught.value)
    assert version_of(path) == 1
    assert hashlib.sha256(path.read_bytes()).digest() == before
    damage(path, "DELETE FROM site WHERE oxd_id = 'full'")
    async with open_store(path) as store:
        assert len(await store.list()) == 2


async def test_an_older_server_is_kept_out(path: Path) -> None:
    """A server of version 1 that still runs finds no column that it could misread."""
    older = sqlite3.connect(path)
    query = "SELECT json FROM site WHERE oxd_id = 'full'"
    assert older.execute(query).fetchone() is not None
    async with open_store(path):
        with pytest.raises(sqlite3.OperationalError, match="no such column"):
            older.execute(query)
    older.close()
