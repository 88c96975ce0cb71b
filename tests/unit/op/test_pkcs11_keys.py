"""Keys in a PKCS#11 token: real ones of SoftHSM sign, and what is wrong is said in one line."""

import copy
import sys

import pkcs11
import pytest
import trio
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey, RSAKey

from oxd_server.op.client_auth import ClientCredentials, authenticate
from oxd_server.op.errors import ClientAuthenticationError, KeyFileError
from oxd_server.op.jose import ALGORITHMS, parse_key_set, sign_token, verify_token
from oxd_server.op.key_store import KeyStore, new_key_store
from oxd_server.op.pkcs11_keys import load_token_keys
from oxd_server.op.pkcs11_uri import parse_key_uri
from oxd_server.op.private_keys import load_private_keys
from oxd_server.op.signing import signed
from tests.clock import NOW
from tests.softhsm import PIN, SoftHsm

RSA = rsa.generate_private_key(65537, 2048)
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


@pytest.fixture(scope="module")
def hsm(tmp_path_factory):
    """A token with an RSA key, an EC key of each curve, and some that are of no use."""
    hsm = SoftHsm(tmp_path_factory.mktemp("hsm"))
    hsm.add(RSA, "rsa", "01")
    for number, (name, curve) in enumerate(CURVES.items(), 2):
        hsm.add(ec.generate_private_key(curve), name, f"{number:02}")
    hsm.add(rsa.generate_private_key(65537, 1024), "short", "05")
    hsm.add(ec.generate_private_key(ec.SECP256R1()), "twice", "06")
    hsm.add(ec.generate_private_key(ec.SECP256R1()), "twice", "07")
    for number, name in enumerate(("mute", "swapped"), 8):
        hsm.add(ec.generate_private_key(ec.SECP256R1()), name, f"{number:02}")
    hsm.add_token("locked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(hsm.configuration))
        spoil(hsm)
        yield hsm


def spoil(hsm):
    """One key may not sign, the public key of another one is a third one's."""
    with pkcs11.lib(hsm.module).get_token(token_label="oxd").open(user_pin=PIN, rw=True) as session:
        session.get_key(pkcs11.ObjectClass.PRIVATE_KEY, label="mute")[pkcs11.Attribute.SIGN] = False
        public = session.get_key(pkcs11.ObjectClass.PUBLIC_KEY, label="swapped")
        other = session.get_key(pkcs11.ObjectClass.PUBLIC_KEY, label="P-256")
        public.destroy()
        other.copy({pkcs11.Attribute.LABEL: "swapped", pkcs11.Attribute.TOKEN: True})


@pytest.fixture(scope="module")
def store(hsm):
    return KeyStore(load_token_keys([hsm.uri(name) for name in ("rsa", *CURVES)], PIN))


def serial(hsm):
    return next(token.serial.decode() for token in pkcs11.lib(hsm.module).get_tokens() if token.label == "oxd")


def verified(store, token, algorithm):
    keys = parse_key_set(store.public_jwks())
    assert keys is not None
    return verify_token(token, keys, frozenset({algorithm}))


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"])
def test_the_token_signs(store, algorithm):
    """Every algorithm that fits a key signs, and the published key verifies it."""
    key, chosen = store.select(algorithm)
    token = sign_token({"kid": key.kid}, {"a": 1}, chosen, key.key)
    assert verified(store, token, algorithm).claims == {"a": 1}


def test_the_key_is_published_and_stays_inside(store):
    """OPs get the public members and the thumbprint; nothing gives the private ones away."""
    assert store.keys[0].kid == RSAKey.import_key(RSA).thumbprint()
    assert not [jwk for jwk in store.public_jwks()["keys"] if {"d", "p", "q"} & jwk.keys()]
    for stored in store.keys:
        assert "d" not in stored.key.as_dict(private=True)
        native = stored.key.private_key
        assert copy.copy(native) is copy.deepcopy(native) is native
        assert native.key_size == native.public_key().key_size
        with pytest.raises(UnsupportedAlgorithm, match="does not leave its token"):
            native.private_numbers()
        with pytest.raises(UnsupportedAlgorithm, match="does not leave its token"):
            native.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UnsupportedAlgorithm, match="only signs"):
        store.keys[0].key.private_key.decrypt(b"", PKCS1v15())
    with pytest.raises(UnsupportedAlgorithm, match="only signs"):
        store.keys[1].key.private_key.exchange(ec.ECDH(), store.keys[1].key.public_key)
    assert store.keys[1].key.private_key.curve.name == "secp256r1"
    assert PIN not in f"{store!r} {vars(store.keys[0].key)!r}"


async def test_a_client_authenticates_in_a_thread(store):
    """The assertion is signed where it does not hold up the loop."""
    credentials = ClientCredentials(client_id="c", method="private_key_jwt", signing_alg="ES256", key_store=store)
    threads = []

    def make():
        threads.append(trio.from_thread.run_sync(trio.lowlevel.current_task).name)
        return authenticate(credentials, lambda: "https://op", NOW, bytes)

    proof = await signed(store, make)
    assert threads
    assert verified(store, proof.form["client_assertion"], "ES256").claims["aud"] == "https://op"


async def test_keys_of_a_file_sign_at_once(tmp_path):
    """They take no thread; without keys there is nothing to wait for either."""
    in_file = new_key_store(tmp_path / "keys.json")
    for keys in (None, in_file, load_private_keys(tmp_path / "keys.json", None, (), None)):
        assert await signed(keys, trio.lowlevel.current_task) is trio.lowlevel.current_task()


def test_both(hsm, tmp_path):
    """Keys of the token come first; those of the file decrypt."""
    in_file = new_key_store(tmp_path / "keys.json")
    both = load_private_keys(tmp_path / "keys.json", None, [hsm.uri("rsa")], PIN)
    only = load_private_keys(None, None, [hsm.uri("rsa")], PIN)
    assert both is not None
    assert only is not None
    assert [key.in_hsm for key in both.keys] == [True, False, False]
    assert [key.kid for key in both.decryption_keys] == [key.kid for key in in_file.decryption_keys]
    assert both.at(NOW).in_hsm
    assert only.decryption_keys == ()


def test_by_id_and_serial(hsm, store):
    """A key is found by its id, a token by its serial number, also while it is open by its label."""
    uri = f"pkcs11:serial={serial(hsm)};id=%07?module-path={hsm.module}"
    (key,) = load_token_keys([uri], PIN)
    assert isinstance(key.key, ECKey)
    assert str(parse_key_uri(uri)) == "pkcs11:id=07"


@pytest.mark.parametrize(
    ("label", "token", "said"),
    [
        ("absent", "oxd", "pkcs11:token=oxd;object=absent: the token shows no such key"),
        ("rsa", "other", "pkcs11:token=other;object=rsa: its library knows no such token"),
        ("short", "oxd", "pkcs11:token=oxd;object=short: this key cannot sign"),
        ("mute", "oxd", "pkcs11:token=oxd;object=mute cannot sign: it is no key that signs"),
        ("swapped", "oxd", "pkcs11:token=oxd;object=swapped: the public key beside it is another key's"),
        ("twice", "oxd", "pkcs11:token=oxd;object=twice: more than one key"),
    ],
)
def test_what_is_not_there(hsm, label, token, said):
    """A key or token that is missing, or cannot be used, is named in one line."""
    with pytest.raises(KeyFileError) as caught:
        load_token_keys([hsm.uri(label, token)], PIN)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_the_same_key_twice(hsm):
    """That is a mistake in the configuration."""
    with pytest.raises(KeyFileError, match="the same key"):
        load_token_keys([hsm.uri("rsa"), hsm.uri("rsa")], PIN)


@pytest.mark.parametrize(("module", "said"), [("/absent.so", "cannot open"), ("/etc/passwd", "invalid ELF")])
def test_no_library(module, said):
    """A library that is missing or none is named."""
    with pytest.raises(KeyFileError, match=f"pkcs11:token=oxd;object=a: .*{module}.*{said}"):
        load_token_keys([f"pkcs11:token=oxd;object=a?module-path={module}"], PIN)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("keys.json", "begins with pkcs11:"),
        ("pkcs11:token=a;token=b;object=c?module-path=/m", "twice"),
        ("pkcs11:token=a;object=c?module-path=/m&pin-value=hid1", "crypt_provider_pkcs11_pin"),
        ("pkcs11:token=a;object=c?module-path=/m&pin-source=file:/hid1", "crypt_provider_pkcs11_pin"),
        ("pkcs11:token=a;object=c;slot-id=1?module-path=/m", "slot-id is not supported"),
        ("pkcs11:token=a;object=c;type=cert?module-path=/m", "type=private"),
        ("pkcs11:token=a;object=c", "module-path"),
        ("pkcs11:object=c?module-path=/m", "token="),
        ("pkcs11:token=a?module-path=/m", "object="),
    ],
)
def test_uris_that_are_refused(uri, said):
    """What a URI lacks or has too much is said, and a PIN in it is not repeated."""
    with pytest.raises(KeyFileError, match=said) as caught:
        load_token_keys([uri], None)
    assert "hid1" not in str(caught.value)


def test_percent_encoding():
    """RFC 7512 section 2.3: values are percent-encoded."""
    uri = parse_key_uri("pkcs11:token=My%20token;object=a%3Bb;id=%01%FF?module-path=/a%20b.so")
    assert (uri.token, uri.label, uri.key_id, uri.module) == ("My token", "a;b", "01ff", "/a b.so")


def test_a_token_that_is_lost_and_comes_back(hsm, store):
    """While it is away, the error says so; afterwards it is opened again by itself."""
    key, away = store.keys[0], hsm.tokens.with_name("away")
    hsm.tokens.rename(away)
    with pytest.raises(ClientAuthenticationError, match="pkcs11:token=oxd;object=rsa cannot sign: ") as caught:
        sign_token({}, {}, ALGORITHMS["RS256"], key.key)
    assert "\n" not in str(caught.value)
    away.rename(hsm.tokens)
    token = sign_token({"kid": key.kid}, {}, ALGORITHMS["RS256"], key.key)
    assert verified(store, token, "RS256")


def test_a_wrong_pin_is_tried_once(hsm):
    """A token would lock itself; so the second time nobody asks it, even if the PIN would be the right one by then."""
    with pytest.raises(KeyFileError, match=r"a: the PIN \(crypt_provider_pkcs11_pin\) is wrong"):
        load_token_keys([hsm.uri("a", "locked")], "later-pin")
    with pkcs11.lib(hsm.module).get_token(token_label="locked").open(user_pin=PIN, rw=True) as session:
        session.set_pin(PIN, "later-pin")
    with pytest.raises(KeyFileError, match="is wrong"):
        load_token_keys([hsm.uri("a", "locked")], "later-pin")


def test_without_the_extra(hsm, monkeypatch):
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "oxd_server.op.pkcs11_keys", None)
    with pytest.raises(KeyFileError, match=r"pip install 'oxd-server\[pkcs11\]'"):
        load_private_keys(None, None, [hsm.uri("rsa")], PIN)
