"""JSON Web Signatures from an OP: which algorithms count, which key is meant, whether the signature holds. Pure.

An algorithm fixes the type and curve of its key, so that no key can be used in another way than it was made for: a
published key is never an HMAC secret, and a client secret is never anything else.

Specifications: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518 (algorithms), RFC 8037 (EdDSA), RFC 8725 (best practice),
RFC 9864 (Ed25519).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from oxd_protocol.discreet import Discreet
from oxd_server.op import members
from oxd_server.op.answer import decode_json_object
from oxd_server.op.base64url import decode_base64url, encode_base64url
from oxd_server.op.errors import IdTokenCheck, IdTokenError

__all__ = [
    "ALGORITHMS",
    "MAX_KEYS",
    "MAX_TOKEN_CHARACTERS",
    "PLAIN_TYPES",
    "Algorithm",
    "AnyKey",
    "JwkKey",
    "KeySet",
    "PublishedKey",
    "SignedToken",
    "allowed_algorithms",
    "header_of",
    "needs_key_set",
    "parse_key_set",
    "secret_signing_key",
    "sign_token",
    "verify_token",
]

JwkKey = RSAKey | ECKey | OKPKey
AnyKey = JwkKey | OctKey

MIN_RSA_BITS = 2048
MAX_TOKEN_CHARACTERS = 64 * 1024
MAX_KEYS = 200
MAX_SHOWN_KEYS = 5


class Algorithm(msgspec.Struct, frozen=True):
    """A JWS algorithm: its key type, its curve if it has one, and how long an HMAC's secret must be."""

    name: str
    key_type: str
    curve: str | None
    min_secret_octets: int = 0

    @property
    def symmetric(self) -> bool:
        """Whether it is an HMAC with the client secret."""
        return self.key_type == "oct"

    @property
    def names(self) -> frozenset[str]:
        """What it is called: RFC 9864 gave EdDSA with the curve Ed25519 a name of its own."""
        return _ED25519 if self.name in _ED25519 else frozenset({self.name})


PLAIN_TYPES = frozenset({"jwt", "jws", "jose"})
"""RFC 7519 section 5.1, RFC 7515 section 4.1.9: the media types that say nothing of the kind of the token."""
_ED25519 = frozenset({"EdDSA", "Ed25519"})
_CURVES = {"256": "P-256", "384": "P-384", "512": "P-521"}


def _algorithms() -> Iterable[Algorithm]:
    for size in ("256", "384", "512"):
        yield Algorithm(f"RS{size}", "RSA", None)
        yield Algorithm(f"PS{size}", "RSA", None)
        yield Algorithm(f"ES{size}", "EC", _CURVES[size])
        yield Algorithm(f"HS{size}", "oct", None, int(size) // 8)
    yield Algorithm("EdDSA", "OKP", "Ed25519")
    yield Algorithm("Ed25519", "OKP", "Ed25519")


ALGORITHMS: Mapping[str, Algorithm] = {algorithm.name: algorithm for algorithm in _algorithms()}
"""Every algorithm that may sign: `none` is not among them."""


class PublishedKey(Discreet, frozen=True):
    """A public key of an OP's key set, with what the set says of its use; `material` tells equal keys."""

    shows = ("kid", "key_type", "curve", "use", "algorithm", "key_ops")

    kid: str | None
    key_type: str
    curve: str | None
    use: str | None
    algorithm: str | None
    key_ops: tuple[str, ...] | None
    key: JwkKey
    material: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = (self.curve or self.key_type, "key", self.kid and repr(self.kid), self.use and f"with use {self.use}")
        operations = f"with key_ops {' '.join(self.key_ops)}" if self.key_ops else None
        return " ".join(filter(None, (*known, operations, self.algorithm and f"for {self.algorithm}")))

    def fits(self, algorithm: Algorithm) -> bool:
        """Whether it may verify signatures of this algorithm (RFC 7517 sections 4.2 to 4.4)."""
        return (
            self.key_type == algorithm.key_type
            and (algorithm.curve is None or self.curve == algorithm.curve)
            and self.use in (None, "sig")
            and (self.algorithm in (None, self.key_type) or self.algorithm in algorithm.names)
            and (self.key_ops is None or "verify" in self.key_ops)
        )

    def encrypts(self, key_type: str, algorithm: str) -> bool:
        """Whether it says that it is there to encrypt to with this algorithm."""
        return self.key_type == key_type and self.use == "enc" and self.algorithm in (None, algorithm)


class KeySet(msgspec.Struct, frozen=True):
    """The usable public keys that an OP publishes, and in words the others."""

    keys: tuple[PublishedKey, ...] = ()
    unusable: tuple[str, ...] = ()

    def select_for_encryption(self, key_type: str, algorithm: str) -> PublishedKey | None:
        """The first key that something may be encrypted to with this algorithm (RFC 7517 sections 4.2 and 4.4)."""
        return next((key for key in self.keys if key.encrypts(key_type, algorithm)), None)

    def select(self, algorithm: Algorithm, kid: str | None) -> PublishedKey:
        """The one key that can have made the signature.

        Core 1.0 section 10.1: "If there are multiple keys in the referenced JWK Set document, a kid value MUST be
        provided in the JOSE Header." A kid says nothing where no key has one, and a key that is listed twice is one.

        Raises:
            IdTokenError: no key fits, or more than one does.
        """
        named = kid is not None and any(key.kid is not None for key in self.keys)
        fitting = {key.material: key for key in self.keys if key.fits(algorithm) and (not named or key.kid == kid)}
        wanted = f"one {algorithm.name} key" + (f" with kid {kid}" if kid is not None else "")
        if not fitting:
            there = "; ".join((*self.unusable, *map(str, self.keys[:MAX_SHOWN_KEYS]))) or "an empty key set"
            raise IdTokenError(IdTokenCheck.KEY_NOT_FOUND, wanted, f"none among: {there}")
        if len(fitting) > 1:
            raise IdTokenError(IdTokenCheck.KEY_AMBIGUOUS, wanted, f"{len(fitting)} keys")
        return next(iter(fitting.values()))


def parse_key_set(document: Mapping[str, object]) -> KeySet | None:
    """The usable keys of a JWK Set, or None if it is no JWK Set.

    RFC 7517 section 5: "Implementations SHOULD ignore JWKs within a JWK Set that use "kty" (key type) values that
    are not understood by them, that are missing required members, or for which values are out of the supported
    ranges." Symmetric keys have no business there and are ignored as well.
    """
    entries = document.get("keys")
    if not isinstance(entries, list):
        return None
    keys, unusable = [], []
    for entry in entries[:MAX_KEYS]:
        key = _parse_key(entry) if isinstance(entry, dict) else "an entry that is no object"
        if isinstance(key, str):
            unusable.append(key)
        else:
            keys.append(key)
    return KeySet(tuple(keys), tuple(unusable[:MAX_SHOWN_KEYS]))


_PUBLIC_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_KEY_TYPES = {name.lower(): name for name in _PUBLIC_MEMBERS}
_URL_SAFE = str.maketrans("+/", "-_")
_USABLE_CURVES = frozenset({"P-256", "P-384", "P-521", "Ed25519"})


def _parse_key(entry: dict[str, object]) -> PublishedKey | str:
    """The key, or in words what is there and cannot be used."""
    key_type, kid = members.text(entry.get("kty")), _kid(entry.get("kid"))
    shown = f"{(key_type or 'typeless')[:20]} key" + (f" {kid[:50]!r}" if kid is not None else "")
    key_type = _KEY_TYPES.get((key_type or "").lower())
    if key_type is None:
        return f"{shown}, of no type for public keys"
    found = {name: members.text(entry.get(name)) for name in _PUBLIC_MEMBERS[key_type]}
    parts = {name: value.rstrip("=").translate(_URL_SAFE) for name, value in found.items() if value is not None}
    if len(parts) < len(found):
        return f"{shown}, which is incomplete"
    if key_type != "RSA" and parts["crv"] not in _USABLE_CURVES:
        return f"{shown}, on curve {parts['crv'][:20]}"
    # RFC 7518 section 3.3: "A key of size 2048 bits or larger MUST be used with these algorithms."
    if key_type == "RSA" and (bits := _bit_length(parts["n"])) < MIN_RSA_BITS:
        return f"{shown}, which has {bits} bits and needs {MIN_RSA_BITS}"
    key = _import_key(key_type, parts)
    if key is None:
        return f"{shown}, whose members make no key"
    return PublishedKey(
        kid=kid,
        key_type=key_type,
        curve=parts.get("crv"),
        use=(members.text(entry.get("use")) or "").lower() or None,
        algorithm=members.text(entry.get("alg")),
        key_ops=members.texts(entry.get("key_ops")) or None,
        key=key,
        material=tuple(parts.values()),
    )


def _kid(value: object) -> str | None:
    """A kid as text; some servers write a number."""
    return members.text_or_number(value)


def _import_key(key_type: str, parts: dict[str, str]) -> JwkKey | None:
    importers: dict[str, Callable[[dict[str, str]], JwkKey]] = {
        "RSA": lambda jwk: RSAKey.import_key({**jwk}),
        "EC": lambda jwk: ECKey.import_key({**jwk}),
        "OKP": lambda jwk: OKPKey.import_key({**jwk}),
    }
    try:
        key = importers[key_type]({"kty": key_type, **parts})
        key.public_key  # noqa: B018 - made on first use; a bad point shows here
    except (JoseError, ValueError, TypeError, KeyError, OverflowError, UnsupportedAlgorithm):
        return None
    return key


def _bit_length(text: str) -> int:
    """The length of a base64url number, 0 if it is none."""
    return int.from_bytes(decode_base64url(text) or b"", "big").bit_length()


def allowed_algorithms(registered: str | None, published: Sequence[str]) -> frozenset[str]:
    """The algorithms to accept: the one the client registered, else the asymmetric ones that the OP publishes.

    `none`, and what we do not know, is never among them; an HMAC only if it was registered. An OP that publishes none
    that could be is taken to sign with RS256, which it has to know (Discovery 1.0 section 3).
    """
    named = [registered] if registered is not None else published
    known = [ALGORITHMS[name] for name in named if name in ALGORITHMS]
    if registered is None:
        known = [algorithm for algorithm in known if not algorithm.symmetric] or [ALGORITHMS["RS256"]]
    return frozenset(name for algorithm in known for name in algorithm.names)


def needs_key_set(algorithms: Iterable[str]) -> bool:
    """Whether any of these algorithms is verified with a published key."""
    return any(name in ALGORITHMS and not ALGORITHMS[name].symmetric for name in algorithms)


class SignedToken(Discreet, frozen=True):
    """A JWS in compact serialization whose signature holds."""

    shows = ("header", "algorithm")

    header: Mapping[str, object]
    algorithm: Algorithm
    claims: dict[str, object]


def verify_token(
    token: str,
    keys: KeySet,
    algorithms: frozenset[str],
    client_secret: str | None = None,
    *,
    types: frozenset[str] = PLAIN_TYPES,
) -> SignedToken:
    """Decode a signed JWT and verify its signature, with exactly the key that its header means.

    Args:
        token: the JWT in compact serialization.
        keys: the issuer's published keys.
        algorithms: names that are acceptable, from `allowed_algorithms`.
        client_secret: the HMAC key where an HMAC algorithm is acceptable.
        types: what its `typ` may say, if it has one; in lower case and without `application/`.

    Raises:
        IdTokenError: one check failed.
    """
    header_part, payload_part, signature_part = _split(token)
    header = _json_object(_decode(header_part, "header"), "header")
    payload, signature = _decode(payload_part, "payload"), _decode(signature_part, "signature")
    algorithm = _check_header(header, algorithms, types)
    key = _verification_key(header, algorithm, keys, client_secret)
    if not _signature_holds(algorithm, f"{header_part}.{payload_part}".encode("ascii"), signature, key):
        raise IdTokenError(IdTokenCheck.BAD_SIGNATURE, f"a valid {algorithm.name} signature", "an invalid one")
    return SignedToken(header, algorithm, _json_object(payload, "payload"))


def header_of(token: str) -> dict[str, object]:
    """The header of a JWT, which nobody has verified: a proof brings its own key there.

    Raises:
        IdTokenError: it is no JWT.
    """
    return _json_object(_decode(_split(token)[0], "header"), "header")


def _split(token: str) -> tuple[str, str, str]:
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise IdTokenError(IdTokenCheck.TOO_LARGE, f"at most {MAX_TOKEN_CHARACTERS} characters", str(len(token)))
    parts = token.split(".")
    if len(parts) == 5:
        raise IdTokenError(IdTokenCheck.ENCRYPTED, "a signed JWT", "an encrypted one")
    if len(parts) != 3:
        raise IdTokenError(IdTokenCheck.MALFORMED, "three parts", f"{len(parts)}")
    return parts[0], parts[1], parts[2]


def _decode(part: str, what: str) -> bytes:
    """RFC 7515 section 2: base64url "with all trailing '=' characters omitted" and nothing else in it.

    Only the one spelling that an encoder makes is accepted, so that no two texts are the same token.
    """
    data = decode_base64url(part)
    if data is None:
        raise IdTokenError(IdTokenCheck.MALFORMED, f"a base64url {what}", "something else")
    return data


def _json_object(data: bytes, what: str) -> dict[str, object]:
    value = decode_json_object(data)
    if value is None:
        raise IdTokenError(IdTokenCheck.MALFORMED, f"a JSON object as {what}", "something else")
    return value


def _check_header(header: Mapping[str, object], algorithms: frozenset[str], types: frozenset[str]) -> Algorithm:
    # RFC 7515 section 4.1.11: "If any of the listed extension Header Parameters are not understood and supported by
    # the recipient, then the JWS is invalid." We support none.
    if "crit" in header:
        raise IdTokenError(IdTokenCheck.CRITICAL_HEADER, "no crit", header["crit"])
    # RFC 8725 section 3.11: a JWT of another kind (an access token, a logout token) is not taken for this one.
    typ = header.get("typ") or "JWT"
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in types:
        raise IdTokenError(IdTokenCheck.BAD_TYPE, "JWT" if types is PLAIN_TYPES else " or ".join(sorted(types)), typ)
    name = header.get("alg")
    if not isinstance(name, str):
        raise IdTokenError(IdTokenCheck.MALFORMED, "alg in the header", name)
    # RFC 8725 section 3.1: "Libraries MUST enable the caller to specify a supported set of algorithms and MUST NOT
    # use any other algorithms when performing cryptographic operations."
    if name not in algorithms or name not in ALGORITHMS:
        raise IdTokenError(IdTokenCheck.ALGORITHM_NOT_ALLOWED, " or ".join(sorted(algorithms)) or "none", name)
    return ALGORITHMS[name]


def _verification_key(
    header: Mapping[str, object], algorithm: Algorithm, keys: KeySet, client_secret: str | None
) -> AnyKey:
    if algorithm.symmetric:
        return _secret_key(algorithm, client_secret)
    kid = _kid(header.get("kid"))
    if kid is None and header.get("kid") not in (None, ""):
        raise IdTokenError(IdTokenCheck.MALFORMED, "a text as kid", header["kid"])
    return keys.select(algorithm, kid).key


def _secret_key(algorithm: Algorithm, client_secret: str | None) -> OctKey:
    if client_secret is None:
        raise IdTokenError(IdTokenCheck.KEY_UNUSABLE, f"a client secret for {algorithm.name}", "none")
    # Core 1.0 section 16.19: the client_secret "MUST also contain at least the minimum of number of octets required
    # for MAC keys for the particular algorithm used."
    secret = client_secret.encode()
    if len(secret) < algorithm.min_secret_octets:
        raise IdTokenError(
            IdTokenCheck.KEY_UNUSABLE,
            f"a client secret of at least {algorithm.min_secret_octets} octets for {algorithm.name}",
            "a shorter one",
        )
    return OctKey(secret, secret)


def _signature_holds(algorithm: Algorithm, signing_input: bytes, signature: bytes, key: AnyKey) -> bool:
    try:
        return JWSRegistry.algorithms[algorithm.name].verify(signing_input, signature, key)
    except (JoseError, ValueError, TypeError, OverflowError):  # pragma: no cover - no key that passed import does it
        return False


def sign_token(header: Mapping[str, object], claims: Mapping[str, object], algorithm: Algorithm, key: AnyKey) -> str:
    """A JWT in compact serialization; `alg` in the header is set to the algorithm's name."""
    parts = ({"alg": algorithm.name, **header}, claims)
    signing_input = ".".join(encode_base64url(msgspec.json.encode(part)) for part in parts)
    signature = JWSRegistry.algorithms[algorithm.name].sign(signing_input.encode("ascii"), key)
    return f"{signing_input}.{encode_base64url(signature)}"


def secret_signing_key(algorithm: Algorithm, client_secret: str) -> OctKey:
    """The client secret as the key of an HMAC algorithm.

    Raises:
        IdTokenError: it is too short for the algorithm.
    """
    return _secret_key(algorithm, client_secret)
