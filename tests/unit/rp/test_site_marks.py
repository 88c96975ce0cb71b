"""Which dialect a site is marked with, where the store cannot tell."""

from oxd_server.rp.site_marks import SiteMarks
from oxd_server.store import Site, StoreUnavailable


class _Gone:
    """A store that cannot be reached."""

    async def get(self, oxd_id: str) -> Site | None:
        raise StoreUnavailable(oxd_id)

    async def sites_of_client(self, op_host: str, client_id: str, limit: int) -> list[Site]:
        raise StoreUnavailable(client_id)


async def test_marks_of_a_store_that_is_gone() -> None:
    """Whose dialect cannot be looked up has no mark: the command itself will tell that the store is gone."""
    marks = SiteMarks(_Gone())  # type: ignore[arg-type]
    assert await marks.of_site("one") is None
    assert await marks.of_client("https://op.example.org", "client") is None
