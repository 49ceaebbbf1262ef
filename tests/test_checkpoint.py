"""Checkpoints: what goes in comes out, what is damaged is found, and a crash leaves the old one."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latentroles import files
from latentroles.errors import CheckpointError, TrainingError
from latentroles.train import checkpoint

DTYPES = ["float64", "float32", "float16", "int64", "int32", "uint8", "bool", ">f8", ">i4"]
NAMES = st.from_regex(r"[a-z]{1,9}/[a-z_]{0,9}[./]?[0-9]{0,2}", fullmatch=True) | st.text(
    st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12
).filter(lambda name: name != "__metadata__")
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
    )
)
SNAPSHOTS = st.dictionaries(NAMES, ARRAYS, max_size=6)
RECORDS = st.dictionaries(
    st.text(max_size=8), st.integers(-9, 9) | st.text(max_size=9) | st.floats(allow_nan=False)
)


def small(value: float = 1.0) -> dict[str, np.ndarray]:
    return {"weights/encoder/0.weight": np.full((3, 2), value), "state/count": np.array(int(value))}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def load_or_complaint(folder: Path) -> checkpoint.Checkpoint | str:
    try:
        return checkpoint.load(folder)
    except CheckpointError as error:
        return str(error)


@given(SNAPSHOTS, RECORDS)
def test_load_returns_what_save_was_given(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, np.ndarray], record: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    checkpoint.save(folder, arrays, record)
    loaded = checkpoint.load(folder)
    assert loaded.record == record
    assert loaded.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        back = loaded.arrays[name]
        assert (back.shape, back.dtype) == (array.shape, array.dtype.newbyteorder("<"))
        assert back.tobytes() == array.astype(back.dtype).tobytes()  # bitwise: NaN and -0.0 too
        assert back.flags.writeable
    assert names_in(folder) == {checkpoint.TENSORS, checkpoint.RECORD}


def test_arrays_in_any_memory_order_keep_their_entries(tmp_path: Path) -> None:
    base = np.arange(24.0).reshape(2, 3, 4)
    views = {"f": np.asfortranarray(base), "s": base[:, ::-1, ::2], "t": base.T}
    checkpoint.save(tmp_path, views, {})
    for name, array in checkpoint.load(tmp_path).arrays.items():
        np.testing.assert_array_equal(array, views[name])


def test_the_json_beside_repeats_the_record(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, small(), {"step": 7})
    beside = json.loads((tmp_path / checkpoint.RECORD).read_text())
    assert beside["step"] == 7
    assert beside["sha256"].encode() in (tmp_path / checkpoint.TENSORS).read_bytes()


@given(data=st.data())
def test_damage_is_found_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("run")
    checkpoint.save(folder, small(), {"step": 3})
    path = folder / checkpoint.TENSORS
    whole = path.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1), label="position")
    kind = data.draw(st.sampled_from(["cut", "flip", "zero the rest", "insert"]), label="kind")
    bit = 1 << data.draw(st.integers(0, 7), label="bit")
    damaged = {
        "cut": whole[:position],
        "flip": whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :],
        "zero the rest": whole[:position] + bytes(len(whole) - position),
        "insert": whole[:position] + bytes([bit]) + whole[position:],
    }[kind]
    path.write_bytes(damaged)
    loaded = load_or_complaint(folder)
    if isinstance(loaded, str):
        assert str(path) in loaded
    else:  # such as a space of padding that became another character of white space
        assert loaded.record == {"step": 3}
        for name, array in small().items():
            np.testing.assert_array_equal(loaded.arrays[name], array, strict=True)
    assert path.read_bytes() == damaged


def test_every_flipped_bit_of_an_array_is_found(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, small(), {})
    path = tmp_path / checkpoint.TENSORS
    whole = path.read_bytes()
    stored = sum(array.nbytes for array in small().values())
    for position in range(len(whole) - stored, len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(CheckpointError, match="checksum"):
            checkpoint.load(tmp_path)


def test_a_record_that_was_edited_is_found(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, small(), {"step": 3})
    path = tmp_path / checkpoint.TENSORS
    assert path.read_bytes().count(b'"step\\": 3') == 1
    path.write_bytes(path.read_bytes().replace(b'"step\\": 3', b'"step\\": 4'))
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.load(tmp_path)


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(small(), tmp_path / checkpoint.TENSORS)
    with pytest.raises(CheckpointError, match="its format is None"):
        checkpoint.load(tmp_path)


def test_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing to resume from"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"": np.zeros(1)}, "printable names"),
        ({"__metadata__": np.zeros(1)}, "__metadata__"),
        ({"a\nb": np.zeros(1)}, "printable names"),
        ({"weights/x": np.zeros(1, complex)}, "'weights/x' has dtype complex128"),
        ({"weights/x": np.array(["text"])}, "'weights/x' has dtype"),
    ],
)
def test_what_cannot_be_stored_is_named(
    tmp_path: Path, arrays: dict[str, np.ndarray], said: str
) -> None:
    checkpoint.save(tmp_path, small(), {"step": 1})
    with pytest.raises(CheckpointError, match=said):
        checkpoint.save(tmp_path, arrays, {"step": 2})
    assert checkpoint.load(tmp_path).record["step"] == 1


class FailingCalls:
    """Lets the first `good` calls through, over all the functions that it wraps, and then fails."""

    def __init__(self, good: int, error: BaseException) -> None:
        self.good, self.error, self.calls = good, error, 0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls > self.good:
                raise self.error
            return function(*args, **kwargs)

        return called


def save_failing_after(
    monkeypatch: pytest.MonkeyPatch, folder: Path, good: int, error: BaseException
) -> BaseException | None:
    """Saves `small(2)` at step 2 where every file operation but the first `good` fails."""
    failing = FailingCalls(good, error)
    with monkeypatch.context() as patch:
        patch.setattr(files.Path, "open", failing.wrap(Path.open))
        for name in ("fsync", "replace"):
            patch.setattr(files.os, name, failing.wrap(getattr(os, name)))
        try:
            checkpoint.save(folder, small(2), {"step": 2})
        except (TrainingError, KeyboardInterrupt) as raised:
            return raised
    return None


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
# Two files: opened and synced, then put in place, then their folder synced.
OPERATIONS = 2 * 2 + 2 + 1
FIRST_REPLACE = 4


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["disk full", "Ctrl-C"])
@pytest.mark.parametrize("good", range(OPERATIONS + 1))
def test_a_failure_at_any_point_leaves_a_whole_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, good: int, error: BaseException
) -> None:
    checkpoint.save(tmp_path, small(1), {"step": 1})
    raised = save_failing_after(monkeypatch, tmp_path, good, error)
    assert (raised is None) == (good >= OPERATIONS)
    if isinstance(raised, TrainingError):
        assert str(tmp_path / checkpoint.TENSORS) in str(raised)
        assert "No space left" in str(raised)
    loaded = checkpoint.load(tmp_path)
    step = 1 if good <= FIRST_REPLACE else 2
    assert loaded.record["step"] == step
    for name, array in small(step).items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
    assert names_in(tmp_path) == {checkpoint.TENSORS, checkpoint.RECORD}


def test_a_disk_that_fills_during_the_write_keeps_the_old_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path, small(1), {"step": 1})
    before = (tmp_path / checkpoint.TENSORS).read_bytes()
    real = Path.open

    class Filling:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> "Filling":
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            self.file.write(data[:100])
            raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(files.Path, "open", lambda self, *a, **k: Filling(real(self, *a, **k)))
        with pytest.raises(TrainingError, match="as it was"):
            checkpoint.save(tmp_path, small(2), {"step": 2})
    assert (tmp_path / checkpoint.TENSORS).read_bytes() == before
    assert names_in(tmp_path) == {checkpoint.TENSORS, checkpoint.RECORD}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"gone.*could not be written"):
        checkpoint.save(tmp_path / "gone", small(), {})


SAVE_FOREVER = """
import sys, numpy as np
from pathlib import Path
from latentroles.train import checkpoint
folder, step = Path(sys.argv[1]), 0
while True:
    step += 1
    checkpoint.save(folder, {"weights/w": np.full(20_000, float(step))}, {"step": step})
    print(step, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_killed_process_leaves_arrays_and_record_of_one_step(tmp_path: Path) -> None:
    for pause in (0.0, 0.0007, 0.0031):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        with process.stdout as lines:
            for _ in range(5):
                lines.readline()
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            process.wait()
        loaded = checkpoint.load(tmp_path)
        assert (loaded.arrays["weights/w"] == loaded.record["step"]).all()
