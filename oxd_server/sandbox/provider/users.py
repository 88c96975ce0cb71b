"""The people who can log in. All of them are made up, and their passwords are public."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["USERS", "User"]


@dataclass(frozen=True)
class User:
    """Somebody who can log in; `claims` are the standard claims (OpenID Connect Core 5.1)."""

    username: str
    password: str = field(repr=False)
    claims: dict[str, Any] = field(repr=False)

    @property
    def sub(self) -> str:
        return str(self.claims["sub"])


USERS = (
    User(
        "alice",
        "wonderland",
        {
            "sub": "a11ce-7f3b",
            "name": "Alice Jensen",
            "given_name": "Alice",
            "family_name": "Jensen",
            "nickname": "Ali",
            "preferred_username": "alice",
            "profile": "https://people.example/alice",
            "website": "https://alice.example",
            "gender": "female",
            "birthdate": "1989-04-12",
            "zoneinfo": "Europe/Copenhagen",
            "locale": "en-DK",
            "updated_at": 1750000000,
            "email": "alice@example.org",
            "email_verified": True,
            "phone_number": "+45 20 30 40 50",
            "phone_number_verified": True,
            "address": {
                "formatted": "Havnegade 1\n1058 København\nDenmark",
                "street_address": "Havnegade 1",
                "locality": "København",
                "postal_code": "1058",
                "country": "Denmark",
            },
        },
    ),
    User(
        "bob",
        "builder",
        {
            "sub": "b0b-91c4",
            "name": "Bob Okafor",
            "given_name": "Bob",
            "family_name": "Okafor",
            "preferred_username": "bob",
            "zoneinfo": "America/New_York",
            "locale": "en-US",
            "updated_at": 1750000000,
            "email": "bob@example.org",
            "email_verified": False,
            "address": {"locality": "New York", "region": "NY", "country": "US"},
        },
    ),
    User(
        "zoe",
        "zürich",
        {
            "sub": "z0e-5d20",
            "name": "Zoë Müller-Łukasik",
            "given_name": "Zoë",
            "family_name": "Müller-Łukasik",
            "preferred_username": "zoe",
            "locale": "de-AT",
            "updated_at": 1750000000,
            "email": "zoe@example.org",
            "email_verified": True,
        },
    ),
)
