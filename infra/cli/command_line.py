"""Reads a command line before the parser does, and answers the words and spellings of other tools."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from infra.cli import other_programs
from infra.cli.other_programs import DYNO, YAML
from infra.errors import DynoctlError

NEVER = "destroy"
"""The command that removes everything. It is typed on purpose or not at all: no error suggests it for another word."""

_ONE_DASH = r"-([A-Za-z][A-Za-z-]*[A-Za-z])(=(?s:.*))?"
_HELP = ("--help", "-h")

_PROGRAMS = (
    *("ansible", "ansible-playbook", "cap", "dynoctl", "heroku", "kamal", "terraform", "tofu"),
    *("docker", "docker-compose", "podman", "kubectl", "systemctl", "flyctl", "fly"),
)
"""Other tools, whose name may have been typed after ours."""

_LIST = "dynoctl --help lists the commands"


def read(root: Any, argv: Sequence[str]) -> list[str]:
    """The command line for the parser. ``root`` is the group of all commands.

    Raises DynoctlError for a command or an option that does not exist, and for a long option with one dash."""
    words, taken, given = _habits(list(argv)), 0, set[str]()
    command, path = root, ["dynoctl"]
    options = _options(command)
    while taken < len(words):
        word = words[taken]
        taken += 1
        if word == "--":
            break
        if word.startswith("-") and word != "-":
            parameter = _option(word, options, path, words, taken, root)
            long = word.startswith("--")
            if parameter is not None:
                _once(parameter, word, path, given)
            if parameter is not None and _takes_value(parameter) and ("=" not in word if long else len(word) == 2):
                if taken == len(words):
                    raise _without_value(parameter, word, path)
                taken += 1  # the value may start with a dash
        elif getattr(command, "commands", None) is not None:
            if word not in command.commands:
                raise _unknown_command(root, command, [*path[1:], word], words[taken:])
            command = command.commands[word]
            path.append(word)
            options = _options(command)
        elif not command.context_settings.get("allow_interspersed_args", True):
            break  # the rest belongs to the command that is run
    return words


def _once(parameter: Any, word: str, path: Sequence[str], given: set[str]) -> None:
    """Refuse a value for a flag, and a second value of an option that has one: the parser would take the last."""
    name, equals, value = word.partition("=")
    here = " ".join(path)
    if not _takes_value(parameter):
        if word.startswith("--") and equals:
            off = value.lower() in ("false", "no", "off", "0")
            hint = f"leave out {word}" if off else f"leave out {equals}{value}: {here} {name}"
            raise DynoctlError(f"option {name} of {here} takes no value: {word}", hint)
        return
    if parameter.name in given and not parameter.multiple:
        if parameter.name == "file":
            hint = "dynoctl reads one manifest; overlays are for differences: -d NAME applies dyno.NAME.yaml"
        else:
            hint = f"{here} takes one {parameter.metavar or 'VALUE'}: remove the others"
        raise DynoctlError(f"option {name} of {here} is given twice", hint)
    given.add(parameter.name)


def _habits(words: list[str]) -> list[str]:
    """``logs -f``, ``logs -fn 5`` and ``logs -d web.1`` as they are meant. -f is the manifest and -d the destination
    everywhere, but those two have no other possible meaning."""
    if words[:1] != ["logs"]:
        return words
    found: list[str] = []
    for number, word in enumerate(words):
        after = words[number + 1] if number + 1 < len(words) else ""
        if word == "-f" and (not after or after.startswith("-")):
            found.append("--follow")
        elif word == "-f" and re.fullmatch(r"[a-z][a-z0-9.]*", after) and not re.fullmatch(YAML, after):
            one = "--dyno" if re.fullmatch(DYNO, after) else "--type"
            raise DynoctlError(
                f"{after} for -f of dynoctl logs is not a YAML file", f"dynoctl logs --follow {one} {after}"
            )
        elif re.fullmatch(r"-f[nst].*", word) and "=" not in word and not re.fullmatch(YAML, word):
            found += ["--follow", f"-{word[2:]}"]
        elif word == "-d" and re.fullmatch(DYNO, after) and not re.fullmatch(YAML, after):
            found.append("--dyno")
        else:
            found.append(word)
    return found


def _without_value(parameter: Any, word: str, path: Sequence[str]) -> DynoctlError:
    from infra.cli import words

    here = " ".join(path)
    other = words.load("without_value").get(f"{' '.join(path[1:])} {word}")  # what it is called elsewhere
    hint = f"{here} {word} {parameter.metavar or 'VALUE'}"
    return DynoctlError(f"option {word} of {here} requires a value", f"{hint}; {other}" if other else hint)


def _options(command: Any) -> dict[str, Any]:
    return {name: one for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("-")}


def _takes_value(parameter: Any) -> bool:
    return not parameter.is_flag and not getattr(parameter, "count", False)


def _option(
    word: str, options: Mapping[str, Any], path: Sequence[str], words: Sequence[str], taken: int, root: Any
) -> Any:
    """The parameter of an option, or None for --help. Raises DynoctlError if there is none."""
    name = word.partition("=")[0]
    if name in _HELP or name in options:
        return options.get(name)
    if not word.startswith("--"):
        found = re.fullmatch(_ONE_DASH, word)
        if found is not None and len(found[1]) > 2:
            raise _one_dash(found[1], found[2] or "", options, path, root)
        name = word[:2]
        if name in options:
            return options[name]
        if name in _HELP:
            return None
    later = [number for number in range(taken, len(words)) if words[number] in root.commands]
    if len(path) == 1 and later:
        first = words[later[0]]
        given = " ".join(shown(other) for other in words[taken - 1 : later[0]])
        raise DynoctlError(
            f"option {shown(word)} is before the command {first}",
            f"options follow the command: dynoctl {first} {given}",
        )
    raise DynoctlError(f"unknown option of {' '.join(path)}: {shown(word)}", _instead(name, word, options, path, root))


def _instead(name: str, word: str, options: Mapping[str, Any], path: Sequence[str], root: Any) -> str:
    """What to type for an option that does not exist."""
    import difflib

    from infra.cli import words

    here = " ".join(path)
    own, known_options = words.load("options_of"), words.load("options")
    for known in (own.get(f"{' '.join(path[1:])} {name}"), known_options.get(word), known_options.get(name)):
        if known is None:
            continue
        option = known.split()[0]
        if not option.startswith("-"):
            return known
        if option in options:
            return f"{here} {known}"
        if len(path) == 1:
            return f"after the command: {known}"
        if _having(root, option):
            return f"{option} is an option of {_having(root, option)}"
    if _having(root, name):
        return f"{name} is an option of {_having(root, name)}"
    close = [one for one in difflib.get_close_matches(name, options, 2, 0.7) if one.startswith("--")]
    if close:
        takes = f" {options[close[0]].metavar or 'VALUE'}" if _takes_value(options[close[0]]) else ""
        return f"did you mean {close[0]}{takes}?"
    long = [option for option in options if option.startswith("--")]
    if not long:
        return f"{here} has no options"
    return f"available: {', '.join(long)}" if len(long) <= 8 else f"{here} --help lists the options"


def _having(root: Any, option: str) -> str:
    """The commands that have an option, such as ``dynoctl apply, dynoctl scale``; "" without any."""
    names = [name for name, command in root.commands.items() if option in _options(command) and name != NEVER]
    return ", ".join(f"dynoctl {name}" for name in names[:4])


def _one_dash(name: str, value: str, options: Mapping[str, Any], path: Sequence[str], root: Any) -> DynoctlError:
    here = " ".join(path)
    double = f"--{name}"
    typed = f"-{name}{value}"
    if double in options or double in _HELP:
        parameter = options.get(double)
        given = "" if parameter is None or not _takes_value(parameter) else value or f" {parameter.metavar or 'VALUE'}"
        return DynoctlError(
            f"{typed} has one dash, and long options have two", f"{here} {double}{given.replace('=', ' ', 1)}"
        )
    short = options.get(f"-{name[0]}")
    instead = _instead(double, f"-{name}", options, path, root)
    if short is not None and _takes_value(short) and instead.endswith("lists the options"):
        instead = f"{here} -{name[0]} {name[1:]}{value}, or a long option with two dashes: {here} --help"
    return DynoctlError(f"unknown option of {here}: {typed}", instead)


def _unknown_command(root: Any, group: Any, path: Sequence[str], rest: Sequence[str]) -> DynoctlError:
    from infra.cli.words import REST, load

    words, typed = load("commands"), " ".join(path)
    summary = f"unknown command: {typed}"
    if len(path) == 1 and path[0] in _PROGRAMS and rest:
        stage = rest[0] if path == ["cap"] and len(rest) > 1 else ""  # cap production deploy
        hint = _without_program(root, rest[1:] if stage else rest)
        hint = words.get(path[0], hint) if hint == _LIST else hint
        return DynoctlError(summary, f"{hint}; with the overlay dyno.{stage}.yaml: -d {stage}" if stage else hint)
    spaced = f"{typed}:{rest[0]}" if rest else ""  # kamal app exec
    known = words.get(typed)
    if spaced in words:
        summary = f"unknown command: {typed} {rest[0]}"
        known, rest = words[spaced], rest[1:]
    if known is None and len(path) == 1:
        first, _, second = path[0].partition(":")
        known = f"dynoctl {first} --help" if second and first in root.commands else words.get(first)
    if known is None and path[0] == "releases" and re.fullmatch(r"v?[0-9]+", path[-1]):
        known = f"dynoctl releases show {path[-1]}"
    if known is None and path[0] == "config" and len(path) == 2 and not _similar(path[1], group):
        known = f"dynoctl config {'set' if '=' in path[1] else 'get'} {shown(path[1])}"
        summary = f"unknown command: config {shown(path[1])}"
    if known is None:
        known = _close(group, path, words)
    if known.endswith(REST) and known.startswith("dynoctl "):
        known = known.removesuffix(REST).strip()
        if known.startswith("dynoctl run"):
            # docker exec -it web.1 bash: a one-off dyno is one of its own
            arguments = other_programs.command(rest, service=spaced.startswith("compose:"))
        else:
            named = [word for word in other_programs.names(rest) if not word.startswith("-")]
            arguments = other_programs.that_fit(known, named)
        known = " ".join([known, *(map(shown, arguments) if arguments else _needed(root, known.split()[1:]))])
    return DynoctlError(summary, known)


def _needed(root: Any, path: Sequence[str]) -> list[str]:
    """The names of the arguments that a command requires."""
    for word in path:
        root = getattr(root, "commands", {}).get(word, root)
    return [str(one.metavar) for one in root.params if one.param_type_name == "argument" and one.required]


def _without_program(root: Any, rest: Sequence[str]) -> str:
    """What to type for a command line of another tool, with its name."""
    from infra.cli.words import load

    if len(rest) > 1 and rest[0] in root.commands and f"{rest[0]}:{rest[1]}" in load("commands"):
        return _unknown_command(root, root, rest[:1], rest[1:]).hint
    rest = [rest[0], *other_programs.names(rest[1:])] if rest[0] in ("logs", "ps", "restart") else rest
    rest = [rest[0], *other_programs.of_logs(rest[1:])] if rest[0] == "logs" and len(rest) > 1 else rest
    try:
        read(root, rest)
    except DynoctlError as error:
        return error.hint
    return _LIST if rest[0] == NEVER else f"dynoctl {' '.join(map(shown, rest))}"


def _similar(word: str, group: Any) -> list[str]:
    """The command of a group that a word is most like, if there is one."""
    import difflib  # late: no right command line needs it

    return difflib.get_close_matches(
        word, [name for name, command in group.commands.items() if not command.hidden], 1, 0.6
    )


def _close(group: Any, path: Sequence[str], words: Mapping[str, str]) -> str:
    import difflib

    here = " ".join(["dynoctl", *path[:-1]])
    close = _similar(path[-1].lower(), group)
    names = [name for name, command in group.commands.items() if not command.hidden and name != NEVER]
    if close and close[0] != NEVER:
        return f"did you mean {here} {close[0]}?"
    if len(path) == 1:
        other = difflib.get_close_matches(path[0], words, 1, 0.82)
        if other and not words[other[0]].endswith("..."):
            return words[other[0]]
    return f"{here} --help lists the commands" if len(names) > 8 else f"available: {', '.join(names)}"


def shown(word: str) -> str:
    """A word for a message. The value of NAME=value may be a secret."""
    name, equals, value = word.partition("=")
    if not equals or name.startswith("-") or not name or re.fullmatch(r"[0-9]+", value):
        return word
    return f"{name}=VALUE"
