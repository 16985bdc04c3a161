"""What is wrong with a value, in the user's words."""

from __future__ import annotations

from typing import Any

from srpu.manual import literal

WORDING = {
    "bool_parsing": "must be True or False",
    "bool_type": "must be True or False",
    "dict_type": "must be a dictionary, e.g. {{0: ...}}",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "list_type": "must be a list, e.g. [...]",
    "literal_error": "must be {expected}",
    "model_type": 'must be a dictionary, e.g. {{"enabled": True, "p": 0.5}}',
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_type": "must be text in quotes",
    "too_long": "has {actual_length} entries instead of {max_length}",
    "tuple_type": "must be a list, e.g. [...]",
}
"""What pydantic calls a mistake, and what the user reads."""


def wish(mistake: Any) -> str:
    """What the value should have been, in the user's words."""
    kind, context = mistake["type"], mistake.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "has too few entries"
    return WORDING[kind].format(**context) if kind in WORDING else str(mistake["msg"])


def short(value: Any) -> str:
    """A value as one would write it, cut where it is long."""
    text = literal(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
