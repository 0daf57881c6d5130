"""The file of a sweep, read as plain values (for :mod:`eegviz.sweep`)."""

import re
from pathlib import Path

import yaml

from eegviz.errors import ParameterError

MAX_BYTES = 1_000_000


class _Loader(yaml.SafeLoader):
    """Plain values only; a key twice is refused; 1e-3 is a number, as in every other file."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", node.value[i][0].start_mark
                )
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load(path, *, keys):
    """The mapping in a YAML file, with no other than these keys.

    Raises
    ------
    ParameterError
        Not YAML (with line and column), not a mapping, an unknown key.
    """
    path = Path(path)
    if path.stat().st_size > MAX_BYTES:
        raise ParameterError(f"{path}: expected a short YAML file, found {path.stat().st_size} bytes.")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ParameterError(f"{path}{where}: not YAML: {error.problem or error.context}.") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ParameterError(f"{path}: not YAML: {' '.join(str(error).split())[:200]}.") from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise ParameterError(f"{path}: expected a mapping with the keys {', '.join(keys)}; found {found}.")
    unknown = [str(key) for key in content if key not in keys]
    if unknown:
        raise ParameterError(f"{path}: unknown key {', '.join(unknown)}; known are {', '.join(keys)}.")
    return content
