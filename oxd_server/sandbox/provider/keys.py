"""The provider's signing keys and what is signed with them."""

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeyParameters, KeySet, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

__all__ = ["SIGNING_ALGS", "Algorithms", "SigningKeys", "claims_by_secret"]

SIGNING_ALGS = ("RS256", "PS256", "ES256", "EdDSA", "HS256")
_RSA_BITS = 2048
_AsymmetricKey = RSAKey | ECKey | OKPKey
_VALID_FROM, _VALID_UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)


class Algorithms(JWSRegistry):
    """The usual algorithms, and EdDSA by its old name, which is what providers and clients still register."""

    def get_alg(self, name: str) -> Any:
        """The algorithm; for EdDSA without the warning that RFC 9864 prefers `Ed25519`."""
        if name == "EdDSA" and name in (self.allowed or ()):
            return self.algorithms[name]
        return super().get_alg(name)


@dataclass(frozen=True)
class SigningKeys:
    """One private key per algorithm, each with its own `kid`."""

    by_alg: dict[str, _AsymmetricKey] = field(repr=False)

    @classmethod
    def generate(cls, generation: int = 1) -> "SigningKeys":
        """New keys. Takes a fraction of a second of CPU: call it in a thread."""

        def parameters(alg: str) -> KeyParameters:
            return {"kid": f"{alg.lower()}-{generation}", "use": "sig", "alg": alg}

        made = cls(
            {
                "RS256": RSAKey.generate_key(_RSA_BITS, parameters("RS256"), private=True),
                "PS256": RSAKey.generate_key(_RSA_BITS, parameters("PS256"), private=True),
                "ES256": ECKey.generate_key("P-256", parameters("ES256"), private=True),
                "EdDSA": OKPKey.generate_key("Ed25519", parameters("EdDSA"), private=True),
            }
        )
        made.public_jwks()  # makes the certificates
        return made

    def public_jwks(self) -> dict[str, Any]:
        """The JSON Web Key Set to publish.

        Each key has a certificate (`x5c`, RFC 7517 section 4.7), and `exp` in milliseconds, as the Gluu server has it:
        gateways that were written for that server read both.
        """
        return {"keys": [{**key, "x5c": [*key["x5c"]]} for key in self._published]}

    @cached_property
    def _published(self) -> list[dict[str, Any]]:
        exp = int(_VALID_UNTIL.timestamp() * 1000)
        return [{**key.as_dict(private=False), "x5c": [_certificate(key)], "exp": exp} for key in self.by_alg.values()]

    def sign(
        self,
        claims: dict[str, Any],
        alg: str,
        client_secret: str | None = None,
        *,
        with_kid: bool = True,
        kid: str | None = None,
        typ: str | None = None,
    ) -> str:
        """A compact JWS over `claims`; HS256 uses the client secret (OpenID Connect Core 10.1)."""
        registry = Algorithms(algorithms=[alg])
        if alg == "HS256":
            return jwt.encode({"alg": alg}, claims, OctKey.import_key(client_secret or ""), registry=registry)
        key = self.by_alg[alg]
        header = {"alg": alg, "kid": kid or key.kid} if with_kid else {"alg": alg}
        if typ is not None:
            header["typ"] = typ
        return jwt.encode(header, claims, key, registry=registry)

    def claims_of_our_token(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that these keys signed; None for any other. Expiry is not looked at."""
        keys = KeySet(list(self.by_alg.values()))
        try:
            return dict(jwt.decode(token, keys, registry=Algorithms(algorithms=list(self.by_alg))).claims)
        except (JoseError, ValueError):
            return None


def _certificate(key: _AsymmetricKey) -> str:
    """A certificate that the key signed for itself: base64 of DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"oxd-server sandbox {key.kid}")])
    builder = (
        x509.CertificateBuilder(name, name)
        .public_key(key.public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
    )
    signed = builder.sign(cast("RSAPrivateKey", key.private_key), None if isinstance(key, OKPKey) else SHA256())
    return base64.b64encode(signed.public_bytes(Encoding.DER)).decode()


def claims_by_secret(token: str, client_secret: str | None) -> dict[str, Any] | None:
    """The claims of a token signed with HS256 and this secret; None for any other. Expiry is not looked at."""
    if not client_secret:
        return None
    try:
        key = OctKey.import_key(client_secret)
        return dict(jwt.decode(token, key, registry=Algorithms(algorithms=["HS256"])).claims)
    except (JoseError, ValueError):
        return None
