"""The pages that are made from the code, so that they cannot drift: `python -m scripts.made_pages` writes them.

A test compares them. A page with `<!-- file: NAME LANGUAGE -->` shows that file in the block below the mark.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from oxd_protocol.catalog import ALIASES, COMMANDS
from oxd_protocol.errors import ERROR_CODES
from oxd_protocol.params import AnyCommand
from oxd_protocol.site_metadata import SiteMetadata
from oxd_server.cli.command_line import make_parser
from oxd_server.config import reference as configuration
from oxd_server.entrances.dialects.flat import flat_routes
from oxd_server.entrances.dialects.statuses import flat_code, status_of
from oxd_server.entrances.reference import GROUPS, Parameter, example_params, http_path, parameters, schemas

ROOT = Path(__file__).parents[1]
MADE_BY = "This page is made from the code by `python -m scripts.made_pages`.\n"
SHOWN = re.compile(r"<!-- file: (\S+) (\w+) -->\n```\w+\n.*?^```\n", re.DOTALL | re.MULTILINE)
TOKEN = "protection_access_token"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a table."""
    head = list(head)
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def site_metadata() -> list[Parameter]:
    """The parameters that describe a site; several commands take all of them."""
    register = next(command for command in COMMANDS if command.name == "register_site")
    names = {field.encode_name for field in msgspec.structs.fields(SiteMetadata)}
    return [row for row in parameters(register) if row.name in names]


def parameter_rows(rows: Iterable[Parameter]) -> Iterator[str]:
    return table(
        ("parameter", "type", "required", "meaning"),
        ((f"`{row.name}`", row.kind, "yes" if row.required else "", row.description) for row in rows),
    )


def commands_page() -> str:
    """Every command: what it does, takes and answers."""
    lines = [
        "# Commands",
        "",
        "Every command of the socket. The HTTPS front has the same commands, each under its own path. Command names",
        "may have any letter case. [The protocol](../../protocol/README.md) says how frames carry them.",
        "[Parameters](parameters.md) lists what describes a site.",
        "",
        MADE_BY,
    ]
    for title, group in GROUPS:
        lines += [f"## {title}", ""]
        if all(command.unsupported for command in group):
            lines += ["These commands are answered with `unsupported_operation`.", ""]
            lines += [
                *table(("command", "instead"), ((f"`{each.name}`", each.unsupported or "") for each in group)),
                "",
            ]
            continue
        for command in group:
            lines += [*command_section(command), ""]
    return "\n".join(lines).rstrip() + "\n"


def command_section(command: AnyCommand) -> Iterator[str]:
    yield from [f"### {command.name}", "", command.summary, ""]
    aliases = [alias for alias, name in ALIASES.items() if name == command.name]
    if aliases:
        yield from [f"Also called {' and '.join(f'`{alias}`' for alias in aliases)}.", ""]
    yield f"- HTTPS: `POST {http_path(command)}`."
    in_4 = [f"`{route.method} {path}`" for path, route in flat_routes().items() if route.command is command]
    if in_4 and in_4 != [f"`POST {http_path(command)}`"]:
        yield f"- In dialect 4: {', '.join(in_4)}."
    yield f"- Token: {'needed where commands are protected' if command.protected else 'never needed'}."
    if command.changes:
        yield "- It changes something here or at the OP, so send it once."
    yield ""
    described = {row.name for row in site_metadata()} if issubclass(command.params, SiteMetadata) else set()
    own = [row for row in parameters(command) if row.name not in described]
    if own:
        yield from [*parameter_rows(own), ""]
    if described:
        yield from ["And everything under [Site metadata](parameters.md#site-metadata).", ""]
    if not own and not described:
        yield from ["It takes no parameters.", ""]
    keys = schemas()[command.result.__name__].get("properties", {})
    if keys:
        yield from [f"The response has {listed(f'`{key}`' for key in keys)}.", ""]
    else:
        yield from ["The response has no data.", ""]
    yield from ["```json", json.dumps({"command": command.name, "params": example_params(command)}, indent=4), "```"]


def listed(words: Iterable[str]) -> str:
    """`a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def parameters_page() -> str:
    """What describes a site, and the other spellings that are understood."""
    aliases: Mapping[str, str] = {alias: name for command in COMMANDS for alias, name in command.aliases.items()}
    lines = [
        "# Parameters",
        "",
        "What `setup_client`, `register_site` and `update_site` take besides their own parameters. `update_site`",
        "changes only what it names. The default site file (`oxd-default-site-config.json`) takes the same keys.",
        "",
        MADE_BY,
        "## Site metadata",
        "",
        *parameter_rows(site_metadata()),
        "",
        "## Other spellings",
        "",
        "Libraries and older versions use other names. The server understands them.",
        "",
        *table(("spelling", "parameter"), ((f"`{alias}`", f"`{name}`") for alias, name in sorted(aliases.items()))),
    ]
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """Every error code."""
    lines = [
        "# Error codes",
        "",
        "An error response has three keys in `data`: `error`, one of these codes; `error_description`, a sentence for",
        "people; and `details`, an object for programs, or null.",
        "[Troubleshooting](../how-to/troubleshooting.md) says for each code what causes it and what to do.",
        "",
        "`http_status_<N>` stands for an OP's own error response with that HTTP status, for example `http_status_400`.",
        "Its description is what the OP said.",
        "",
        "The status is that of the HTTPS front in dialect 4. In dialect 3 the front answers 200, and the envelope has",
        "the code.",
        "",
        MADE_BY,
    ]
    rows = []
    for code, description in ERROR_CODES.items():
        name = flat_code(code)
        other = "" if name == code else f" (`{name}`)"
        rows.append((f"`{code}`", description, f"{status_of(code)}{other}"))
    return "\n".join([*lines, *table(("code", "meaning, where nothing better is known", "dialect 4"), rows)]) + "\n"


def command_line_page() -> str:
    """Every command of the program, with its options."""
    lines = [
        "# Command line",
        "",
        "The commands of `oxd-server`. Each has `--help`. The exit code is 0 if it is done, 1 if it failed",
        "(one line says why), and 2 if it was called wrongly.",
        "",
        MADE_BY,
    ]
    return "\n".join([*lines, *program_sections("oxd-server", make_parser(), "")]).rstrip() + "\n"


def program_sections(name: str, parser: argparse.ArgumentParser, summary: str) -> Iterator[str]:
    """A section for a command, or one for each of those below it."""
    below = next((one for one in parser._actions if isinstance(one, argparse._SubParsersAction)), None)
    if below is not None:
        helps = {str(one.dest): one.help or "" for one in below._choices_actions}
        for word, command in below.choices.items():
            yield from program_sections(f"{name} {word}", command, helps[word])
        return
    yield from [f"## {name}", "", sentence(parser.description or summary), ""]
    rows = [
        (
            f"`{' '.join(filter(None, [option_of(one), value_of(one)]))}`",
            " ".join(((one.help or "") % vars(one)).split()),
        )
        for one in parser._actions
        if not isinstance(one, argparse._HelpAction)
    ]
    if rows:
        yield from [*table(("argument", "meaning"), rows), ""]


def option_of(action: argparse.Action) -> str:
    return action.option_strings[0] if action.option_strings else ""


def value_of(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    value = str(action.metavar or action.dest.upper())
    return f"[{value}]" if action.nargs == "?" else value


def sentence(text: str) -> str:
    """A text with a capital letter and a full stop, on one line."""
    text = " ".join(text.split())
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "}")) or not text else ".")


FILES: dict[str, Callable[[], str]] = {
    **configuration.FILES,
    "docs/reference/command-line.md": command_line_page,
    "docs/reference/commands.md": commands_page,
    "docs/reference/parameters.md": parameters_page,
    "docs/reference/errors.md": errors_page,
}
"""What is made, by its path in the repository."""


def with_shown_files(page: Path) -> str:
    """The page, with the present text of each file that it shows."""

    def show(match: re.Match[str]) -> str:
        name, language = match.groups()
        text = (page.parent / name).read_text("utf-8")
        return f"<!-- file: {name} {language} -->\n```{language}\n{text}```\n"

    return SHOWN.sub(show, page.read_text("utf-8"))


def made() -> dict[Path, str]:
    """Every file that is made from the code, or shows a file, with the text that it must have."""
    pages: dict[Path, Any] = {page: with_shown_files(page) for page in sorted((ROOT / "docs").rglob("*.md"))}
    return {page: text for page, text in pages.items() if "<!-- file: " in text} | {
        ROOT / name: make() for name, make in FILES.items()
    }


def main() -> None:
    """Write the files."""
    for path, text in made().items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
