"""What is said about a command line that the parser refuses: the argument or option, and the form that it takes."""

from __future__ import annotations

import difflib
import re
from typing import Any

_EXTRA = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((\S+).*\)", re.DOTALL)


def explain(error: Any) -> tuple[str, str]:
    """The summary and the hint for a usage error of the parser."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    path = context.command_path if context is not None else "dynoctl"
    message = str(error.format_message())
    extra = _EXTRA.match(message)
    if extra is not None:
        from infra.cli.extra_arguments import unexpected

        return unexpected(path, extra[1])
    if parameter is None:
        return message, f"{path} --help"
    name, choices = (
        _name(parameter),
        [str(getattr(one, "value", one)) for one in getattr(parameter.type, "choices", ())],
    )
    meaning = (
        f"{name.rstrip('.')} is: {_lower(parameter.help)}" if getattr(parameter, "help", None) else f"{path} --help"
    )
    if type(error).__name__ == "MissingParameter":
        summary = f"missing argument {name} of {path}"
        if choices:
            about = f"; {_lower(parameter.help)}" if getattr(parameter, "help", None) else ""
            return summary, f"{path} {'|'.join(choices)}{about}"
        return summary, f"{path} {name}; {meaning}"
    summary = f"invalid value for {name} of {path}: {_reason(str(error.message), choices)}"
    if choices:
        typed = re.match(r"'([^']*)'", str(error.message))
        close = difflib.get_close_matches(typed[1], choices, 1, 0.6) if typed else []
        return summary, f"did you mean {path} {close[0]}?" if close else f"one of: {', '.join(choices)}"
    return summary, f"{path} {name} {parameter.metavar or 'VALUE'}; {meaning}" if name.startswith("-") else meaning


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "option":
        return str(next((name for name in parameter.opts if name.startswith("--")), parameter.opts[0]))
    return str(parameter.metavar or parameter.name.upper())


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _reason(message: str, choices: list[str]) -> str:
    """What is wrong with a value, in fewer words than the parser's."""
    typed = re.match(r"('[^']*'|\S+)", message)
    if choices and typed:
        return typed[1]
    plain = re.sub(r" is not a valid int(eger)?( range)?\.?$", " is not an integer", message.rstrip("."))
    plain = re.sub(r" is not a valid float( range)?$", " is not a number", plain)
    return re.sub(r"is not in the range (.*)", lambda found: f"is not {_range(found[1])}", plain)


def _range(text: str) -> str:
    both = re.fullmatch(r"([-0-9.]+)<=x<=([-0-9.]+)", text)
    least = re.fullmatch(r"x>=([-0-9.]+)", text)
    return f"{both[1]} to {both[2]}" if both else f"at least {least[1]}" if least else text
