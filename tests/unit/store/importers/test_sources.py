"""Sources of an old server's sites: what they are found to be, what is read, and what is said of damaged ones.

The files in ``../old`` were written by an old server 3.1.4, and by H2 1.4.194, which it used. Their sites are made up.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oxd_server.store.importers.errors import SourceError
from oxd_server.store.importers.h2_file import read_h2
from oxd_server.store.importers.h2_values import Cursor, lzf_decompress, read_value
from oxd_server.store.importers.java_text import read_java_string
from oxd_server.store.importers.sources import Source, read_source

OLD = Path(__file__).parents[1] / "old"
DATABASE = OLD / "oxd_db.mv.db"
RUNNING = OLD / "oxd_db.running.mv.db"
SCRIPT = OLD / "oxd_db.script.sql"
VALUES = OLD / "redis-values.hex"
KILLED = [OLD / f"open_transaction.{version}.mv.db" for version in ("1.4.194", "1.4.200")]
"""A transaction had changed a site twice, removed one and added one when the process was killed."""
BLOCK = 4096
NODE = {"oxd_id": "a", "op_host": "https://op.example.org"}


def sites(source: Source) -> dict[str, Any]:
    return {found.site.oxd_id: (found.site, found.session) for found in source.sites}


@pytest.mark.parametrize(
    ("path", "kind"),
    [(DATABASE, "H2 database"), (RUNNING, "H2 database"), (SCRIPT, "H2 script"), (VALUES, "dump of Redis values")],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_what_an_old_server_left(path: Path, kind: str) -> None:
    """Each kind is known by its content, and every one of its nine sites is read."""
    source = read_source(path)
    assert source.kind == kind
    assert len(source.sites) == 9
    assert all(found.site.op_host.startswith("http") for found in source.sites)


def test_the_database_and_its_script_hold_the_same() -> None:
    """Two readers that share no code find the same sites, the one with other alphabets in its name included."""
    assert sites(read_source(DATABASE)) == sites(read_source(SCRIPT))
    texts = [text for _, text in read_h2(DATABASE.read_bytes())]
    assert any(not text.isascii() for text in texts)


def test_a_database_by_the_name_in_the_old_configuration(tmp_path: Path) -> None:
    """The old configuration names a database without its ending; a folder with one database will do as well."""
    (tmp_path / "oxd_db.mv.db").write_bytes(DATABASE.read_bytes())
    assert len(read_source(tmp_path / "oxd_db").sites) == 9
    assert len(read_source(tmp_path).sites) == 9


def test_a_chunk_that_was_not_finished_does_not_count() -> None:
    """A killed server leaves half a chunk behind the last valid one; the database is that of before."""
    whole = DATABASE.read_bytes()
    before = dict(read_h2(whole))
    half = whole[2 * BLOCK : 3 * BLOCK].replace(b"version:", b"version:f", 1)
    assert dict(read_h2(whole + half)) == before


def outcome(read: Callable[[], list[Any]]) -> list[Any] | str:
    """Return what was read, or the text of the refusal."""
    try:
        return read()
    except SourceError as error:
        return str(error)


@pytest.mark.parametrize("cut", [0, 100, BLOCK, 2 * BLOCK, 3 * BLOCK + 5])
def test_a_database_that_is_cut_off(tmp_path: Path, cut: int) -> None:
    """A file that ends too early is refused in one line that names it, or read as the older version that it holds."""
    path = tmp_path / "cut.mv.db"
    path.write_bytes(DATABASE.read_bytes()[:cut])
    read = outcome(lambda: [found.where for found in read_source(path).sites])
    assert len(read) <= 9 if isinstance(read, list) else re.fullmatch(rf"{re.escape(str(path))}[^\n]*", read)


@pytest.mark.parametrize("path", KILLED, ids=lambda path: path.name)
def test_an_open_transaction_is_taken_back(path: Path) -> None:
    """As H2 does when it opens the database: what was committed counts, whichever of its formats the file has."""
    found = [(one.site.oxd_id, one.site.client.client_name) for one in read_source(path).sites]
    assert found == [(f"site-{number}", "committed") for number in range(6)]


@pytest.mark.parametrize("path", [DATABASE, *KILLED], ids=lambda path: path.name)
def test_no_changed_byte_goes_unnoticed_or_breaks_the_reader(path: Path) -> None:
    """Whatever byte is damaged: the sites are read as they were, or the file is refused; nothing else happens."""
    whole = path.read_bytes()
    for position in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        read = outcome(lambda data=bytes(damaged): list(read_h2(data)))  # type: ignore[misc]
        assert isinstance(read, list) or len(read) < 300


def header(text: str) -> bytes:
    return text.encode().ljust(BLOCK, b" ") * 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (header("H:2,block:3,blockSize:1000,chunk:2,format:2,version:2,fletcher:a647ca33\n"), "format 2 of H2 2.x"),
        (b"H2encrypt" + bytes(BLOCK), "encrypted"),
        (b"-- H2 0.5/B --      \n" + bytes(BLOCK), "page store of H2 1.3"),
        (header("H:2,block:3\n"), "header is damaged"),
        (header("H:2,block:2,format:1\n"), "no valid chunk"),
        (b"\x7fELF\x00\xff", "is no text"),
        (b"just words", "none of the sources"),
        (b"", "none of the sources"),
        (b"{", "not valid JSON"),
        (b"[1]", "site 1 is no site"),
        (b'{"op_host": "https://op.example"}', "the site has no oxd_id"),
        (b'{"oxd_id": NaN}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"oxd_id": "\\ud800"}', "not valid JSON"),
        (json.dumps([NODE, NODE]).encode(), "'a' stands in it twice: source, site 1, and source, site 2"),
        (b"key aced0005740003\n", "is announced"),
        (b"key aced0005740001zz\n", "hexadecimal"),
        (b"key aced00057300016100\n", "but no text"),
        (b"key aced000574000261ff\n", "not valid text"),
        (b"INSERT INTO PUBLIC.RP(ID, DATA) VALUES\n('a', '{\"oxd_id\":\n", "line 2: a row of the table RP is damaged"),
        (b"INSERT INTO PUBLIC.RP(ID, DATA) VALUES\n('a', SYSTEM_COMBINE_CLOB(3));\n", "long text that is missing"),
        (b"INSERT INTO PUBLIC.RP(ID, DATA) VALUES\n('a', NULL);\n", "has no data"),
        (b"INSERT INTO PUBLIC.RP(ID, DATA) VALUES\n('a', STRINGDECODE('\\ud800'));\n", "not valid text"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, content: bytes, reason: str) -> None:
    """Each is refused in one line that says what and where."""
    path = tmp_path / "source"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"^[^\n]*$") as caught:
        read_source(path)
    assert reason.replace("is announced", "are announced") in str(caught.value)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    """A path that is misspelt is named."""
    with pytest.raises(SourceError, match="none cannot be read"):
        read_source(tmp_path / "none")


def test_several_databases(tmp_path: Path) -> None:
    """Of several databases in a folder none is taken."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.mv.db").write_bytes(DATABASE.read_bytes())
    with pytest.raises(SourceError, match="several databases"):
        read_source(tmp_path)


def test_a_folder_of_an_old_server(tmp_path: Path) -> None:
    """The configuration files that lie beside the sites are none; an empty folder has no sites."""
    assert read_source(tmp_path).sites == ()
    (tmp_path / "a.json").write_text(json.dumps(NODE), "utf-8-sig")
    for name in ("oxd-conf.json", "oxd-default-site-config.json"):
        (tmp_path / name).write_text("{}", "utf-8")
    assert [found.where for found in read_source(tmp_path).sites] == ["a.json"]


def test_texts_of_a_script(tmp_path: Path) -> None:
    """Doubled quotes, Java's escapes, and long texts in pieces are put together."""
    path = tmp_path / "script.sql"
    path.write_text(
        "CREATE USER IF NOT EXISTS OXD SALT '' HASH '' ADMIN;\n"
        "INSERT INTO SYSTEM_LOB_STREAM VALUES(0, 1, STRINGDECODE('\\u00e9\"}'), NULL);\n"
        'INSERT INTO SYSTEM_LOB_STREAM VALUES(0, 0, \'{"oxd_id":"c","client_name":"\', NULL);\n'
        "INSERT INTO PUBLIC.RP(ID, DATA) VALUES\n"
        '(\'a\', \'{"oxd_id":"a","client_name":"it\'\'s"}\'),\n'
        '(\'b\', STRINGDECODE(\'{\\"oxd_id\\":\\"b\\",\\"client_name\\":\\"\\ud83d\\ude00 it\'\'s \\101\\"}\')),\n'
        "('c', SYSTEM_COMBINE_CLOB(0));\n",
        "utf-8",
    )
    nodes = {found.site.oxd_id: found.where for found in read_source(path).sites}
    assert nodes == {"a": "the row in line 5", "b": "the row in line 6", "c": "the row in line 7"}


@pytest.mark.parametrize("text", ["", "plain", "\0 and é", "\U0001f600", "x" * 70_000])
def test_java_strings(text: str) -> None:
    """Short and long Strings in modified UTF-8 come back as they were."""
    units = text.encode("utf-16-be", "surrogatepass")
    characters = [chr(int.from_bytes(units[at : at + 2], "big")) for at in range(0, len(units), 2)]
    body = b"".join(b"\xc0\x80" if one == "\0" else one.encode("utf-8", "surrogatepass") for one in characters)
    size = b"\x74" + len(body).to_bytes(2, "big") if len(body) < 1 << 16 else b"\x7c" + len(body).to_bytes(8, "big")
    assert read_java_string(b"\xac\xed\x00\x05" + size + body, "it") == text


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\x00", None), (b"\x40", False), (b"\x41", True), (b"\x25", 5), (b"\x33", 3), (b"\x42\x07", -7),
        (b"\x04\x80\x01", 128), (b"\x01\x09", 9), (b"\x46ab", "ab"), (b"\x0d\x01a", "a"),
        (b"\x11\x02\x20\x45\xc3\x29", [0, "\xe9"]), (b"\x45\xe2\x02\x2c", "\u20ac"),
    ],
)  # fmt: skip
def test_values(data: bytes, value: object) -> None:
    """Every type that the old server's tables hold is read as it is."""
    assert read_value(Cursor(data, "it")) == value


@pytest.mark.parametrize(
    "data", [b"", b"\x07", b"\x04" + b"\xff" * 20, b"\x48ab", b"\x11\x7f", b"\x11\x01" * 20, b"\x45\xc3"]
)
def test_values_that_are_damaged(data: bytes) -> None:
    """An unknown type, a number without an end and a text that is cut off are refused."""
    with pytest.raises(SourceError, match="it is damaged at byte"):
        read_value(Cursor(data, "it"))


def test_lzf() -> None:
    """Literals, references and references that overlap with what they make are unpacked; nothing else is."""
    assert lzf_decompress(b"\x02abc\x20\x02", 6, "it") == b"abcabc"
    assert lzf_decompress(b"\x00a\xe0\x00\x00", 10, "it") == b"a" * 10
    for damaged in (b"\x20\x05", b"\x05ab", b"\x02abc\xe0\x05\x02"):
        with pytest.raises(SourceError):
            lzf_decompress(damaged, 6, "it")
