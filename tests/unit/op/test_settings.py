"""What the operator says of single OPs, put together from three keys of the configuration."""

from oxd_server.op.settings import NO_NONCE, NO_TOKEN_TYPE, NOTHING_SPECIAL, OpSettings, nothing_special, settings_of


def test_the_three_keys_come_together() -> None:
    """However an OP is written, what is said of it is one; of others nothing is said."""
    found = settings_of(
        {"https://op/": OpSettings(trusted_audiences=("api",), exceptions=("no_nonce",), issuer="https://old")},
        {"https://op": "https://issuer", "https://b": "https://c"},
        {"https://op": ("no_token_type",), "https://d": ("no_nonce",)},
        lambda op: op.rstrip("/"),
    )
    special = found("https://op")
    assert (special.issuer, special.trusted_audiences) == ("https://issuer", ("api",))
    assert special.allows(NO_NONCE)
    assert special.allows(NO_TOKEN_TYPE)
    assert found("https://b") == OpSettings(issuer="https://c")
    assert not found("https://b").allows(NO_NONCE)
    assert found("https://d").allows(NO_NONCE)
    assert found("https://op/realms/x") is NOTHING_SPECIAL
    assert nothing_special("https://op") is NOTHING_SPECIAL
