"""Files that a command writes: whether they can be is asked before minutes are spent, not after."""

import os
from pathlib import Path

from latentroles.errors import DataError


def output(option: str, path: str | None) -> Path | None:
    """Where a file goes, if it can; None where none is asked for.

    Args:
        option: the name of the option, such as "--json".

    Raises:
        DataError: its folder is not there or cannot be written to, or it is a folder itself.
    """
    if path is None:
        return None
    if not path:
        raise DataError(f"{option} names no file: it is empty. Fix: give it a file's path.")
    target = Path(path)
    if target.is_dir():
        why, fix = "it is a folder itself", "give a file in it"
    elif not target.parent.is_dir():
        why = f"the folder {target.parent} does not exist"
        fix = "make that folder, or give a file in one that exists"
    elif not os.access(target.parent, os.W_OK):
        why = f"the folder {target.parent} is not for you to write to"
        fix = "give a file in one that is"
    else:
        return target
    raise DataError(f"{option} {path} could not be written: {why}. Fix: {fix}.")


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all; raises DataError."""
    from latentroles.files import replace_files

    try:
        replace_files({path: text.encode()})
    except OSError as error:
        raise DataError(f"{path} could not be written: {error.strerror or error}.") from error
