"""Files that are replaced whole or not at all.

Every file of a run folder but the metrics log is written by `replace_files`: a reader sees the
old content or the new, never a part of either, whatever interrupts the writer.
"""

import os
from collections.abc import Mapping
from pathlib import Path


def replace_files(contents: Mapping[Path, bytes]) -> None:
    """Writes each path's content beside it, then puts them in place in the order given.

    Nothing is put in place before all of them are on the disk, so a full disk leaves every old file
    as it was. On any failure, an interrupt included, the temporary files are removed.

    Raises:
        OSError: a file could not be written; it carries the path.
    """
    staged = {path: path.with_name(f".{path.name}.tmp") for path in contents}
    try:
        for path, temporary in staged.items():
            with temporary.open("wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in staged.items():
            os.replace(temporary, path)
        for folder in {path.parent for path in staged}:
            _sync_folder(folder)
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # A rename is durable once its folder is. Windows cannot open a folder, and needs no such call.
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
