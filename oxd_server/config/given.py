"""What somebody has set, and where: what counts more stands in the place of what counts less.

From the most to the least: a flag on the command line, an environment variable, a credential of systemd, the file, the
default. A secret may stand in a file of its own instead, wherever it may be set: ``password_file`` names it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from oxd_protocol.discreet import Discreet
from oxd_server.config.declaring import VARIABLES, Settings, Value, declared_keys, declared_values
from oxd_server.config.file import ConfigError, Section, read_value, wrong
from oxd_server.config.keys import Config
from oxd_server.config.kinds import PATH, Kind

__all__ = ["CREDENTIALS", "Given", "Sources", "given_in_file", "given_outside", "unknown_variables"]

CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""The environment variable with which systemd says where the credentials of a service are (systemd.exec(5))."""

# What systemd puts before the names where it loads a whole folder, with LoadCredential=oxd:FOLDER.
_OF_A_FOLDER: Final = "oxd_"
_FILE: Final = "_file"
_MAX_BYTES: Final = 1_000_000
# Kubernetes sets OXD_PORT to such a text, and more such variables, if there is a service named oxd.
_ADDRESS_OF_A_SERVICE: Final = ("tcp://", "udp://", "sctp://")


class Sources(Discreet, frozen=True):
    """Where the settings of this process come from; enough to read them once more.

    ``path`` is the file, ``flags`` are the flags of the command line and their texts.
    """

    shows = ("path", "flags")

    path: Path | None = None
    environment: Mapping[str, str] = {}
    flags: Mapping[str, str] = {}

    @property
    def arguments(self) -> list[str]:
        """The arguments with which another ``oxd-server serve`` has the same sources."""
        config = [] if self.path is None else ["--config", str(self.path)]
        return config + [f"{flag}={text}" for flag, text in self.flags.items()]


class Given(NamedTuple):
    """A value as it was written.

    ``form`` says what it is: a value of the file, a text, or the path of a file that holds a text. ``place`` is what an
    error calls it, ``origin`` what people are told of where it comes from. Relative paths start at ``folder``.
    """

    value: Any
    form: Literal["value", "text", "file"]
    place: str
    origin: str
    folder: Path = Path()

    @property
    def file(self) -> Path | None:
        """The file of its own that the value stands in, if it does."""
        is_path = self.form == "file" and isinstance(self.value, (str, Path))
        return self.folder / self.value if is_path else None

    def read(self, kind: Kind) -> Any:
        """Return the value as its kind has it.

        Raises:
            ConfigError: it is wrong, or its file cannot be read.
        """
        value = self.value
        if self.form == "file":
            value = _text_of(read_value(PATH, value, self.place, self.folder), self.place)
        if self.form != "value":
            try:
                value = kind.from_text(value)
            except (ValueError, RecursionError):
                raise wrong(self.place, value, kind.expected, secret=kind.secret) from None
        return read_value(kind, value, self.place, self.folder)


def _text_of(path: Path, place: str) -> str:
    """Return the text of a file, without what an editor puts at its end."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ConfigError(f"{place}: {path} is longer than {_MAX_BYTES} bytes")
        return data.decode("utf-8-sig").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{place}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{place}: {path} is not UTF-8 text") from None


def given_in_file(section: Section, problems: list[str]) -> dict[str, Given]:
    """Return what the file sets, by the name of the key.

    What is wrong is added to ``problems``, unknown keys to the warnings of the section.
    """
    return dict(_in_section(section, Config, problems))


def _in_section(section: Section, struct: type[Settings], problems: list[str]) -> Iterator[tuple[str, Given]]:
    known: set[str] = set()
    for declared in declared_keys(struct):
        kind = declared.key.kind
        if not isinstance(kind, Kind):
            try:
                inner = section.section(declared.name)
            except ConfigError as error:
                problems += error.problems
                continue
            yield from _in_section(inner, kind, problems)
            section.warnings += inner.warnings
            continue
        names: dict[str, Literal["value", "file"]] = {declared.name: "value"}
        if kind.secret:
            names[f"{declared.name}{_FILE}"] = "file"
        known |= names.keys()
        found = [
            Given(section.node[name], form, section.name(name), "file", section.file.parent)
            for name, form in names.items()
            if name in section.node
        ]
        yield from _one_of(f"{section.prefix}{declared.name}", found, problems)
    section.note_unknown(known)


def given_outside(sources: Sources, problems: list[str]) -> dict[str, Given]:
    """Return what credentials, the environment and flags set, by the name of the key; see ``given_in_file``."""
    values = declared_values(Config)
    folder = Path(sources.environment.get(CREDENTIALS, ""))
    given: dict[str, Given] = {}
    for value in values if sources.environment.get(CREDENTIALS) else ():
        # For a key that is a path, the credential is the file that the path leads to.
        form: Literal["value", "file"] = "value" if value.kind is PATH else "file"
        found = [
            Given(str(path.absolute()), form, f"credential {path.name}", "credential")
            for path in (folder / value.name, folder / f"{_OF_A_FOLDER}{value.name}")
            if path.is_file()
        ]
        given.update(_one_of(value.name, found, problems))
    for value in values:
        given.update(_one_of(value.name, list(_in_environment(value, sources.environment)), problems))
        text = sources.flags.get(value.declared.key.flag)
        if text is not None:
            flag = value.declared.key.flag
            given[value.name] = Given(text, "text", flag, f"flag {flag}")
    return given


def _in_environment(value: Value, environment: Mapping[str, str]) -> Iterator[Given]:
    forms: dict[str, Literal["text", "file"]] = {value.variable: "text"}
    if value.is_secret:
        forms[f"{value.variable}{_FILE.upper()}"] = "file"
    for name, form in forms.items():
        text = environment.get(name, "")
        if text and not text.startswith(_ADDRESS_OF_A_SERVICE):
            yield Given(text, form, name, f"environment {name}")


def _one_of(name: str, found: list[Given], problems: list[str]) -> Iterator[tuple[str, Given]]:
    if len(found) > 1:
        problems.append(f"{found[0].place}: {found[1].place.rpartition(' ')[2]} is set too: one of them is enough")
    for given in found[-1:]:
        yield name, given


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a warning about variables that begin as ours do and set nothing."""
    values = declared_values(Config)
    known = {value.variable for value in values}
    known |= {f"{value.variable}{_FILE.upper()}" for value in values if value.is_secret}
    unknown = sorted(
        name
        for name, text in environment.items()
        if name.startswith(VARIABLES) and (name not in known or text.startswith(_ADDRESS_OF_A_SERVICE))
    )
    return [f"environment variables that set no key: {', '.join(unknown)}"] if unknown else []
