"""Data sets in HDF5 files. Such a file can refer to any other file of the computer: these references are refused."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mttsg_core.errors import FeatureError

CheckSize = Callable[[Path, str, tuple[int, ...], int, int], None]

_MAX_LINKS = 8  # links followed one after the other
_READ_ERRORS = (OSError, RuntimeError, ValueError, LookupError)


def import_hdf5() -> Any:
    """Import and return h5py.

    Raises:
        FeatureError: if it is not installed.
    """
    try:
        return import_module("h5py")
    except ImportError as error:
        raise FeatureError("HDF5 features need h5py: pip install 'mttsg[hdf5]'") from error


def data_set_names(path: Path) -> list[str]:
    """Return the names of the data sets and groups at the top level of a file.

    Raises:
        FeatureError: if it cannot be read.
    """
    h5py = import_hdf5()
    try:
        with h5py.File(path, "r") as file:
            return list(file)
    except _READ_ERRORS as error:
        raise FeatureError(f"{path}: cannot be read as HDF5 ({str(error).splitlines()[0]})") from error


def read_data_set(path: Path, name: str, check_size: CheckSize) -> npt.NDArray[np.floating]:
    """Return the data set of a video; of a group the first data set, as in ActivityNet's C3D features.

    Args:
        path: the file.
        name: of the data set.
        check_size: called with the path, the name, the shape, the bytes of one value and those of all in the file,
            before they are read; raises if they are too many.

    Raises:
        FeatureError: if there is no such data set, or its numbers are not in the file.
        OSError, RuntimeError, ValueError, LookupError: if the file is damaged.
    """
    h5py = import_hdf5()
    with h5py.File(path, "r") as file:
        node = _resolve(h5py, path, file, name, _MAX_LINKS)
        if isinstance(node, h5py.Group):
            first = next(iter(node), None)
            node = None if first is None else _resolve(h5py, path, node, first, _MAX_LINKS)
        if not isinstance(node, h5py.Dataset):
            raise FeatureError(f"{path}: no data set {name!r}")
        if node.is_virtual or node.external:
            raise FeatureError(f"{path}: the numbers of {name!r} are in another file, which is never read")
        if node.shape is None or not np.issubdtype(node.dtype, np.floating):
            raise FeatureError(f"{path}: {name!r} is {node.dtype} of shape {node.shape}, not floating-point numbers")
        check_size(path, name, node.shape, node.dtype.itemsize, node.id.get_storage_size())
        return np.asarray(node)


def _resolve(h5py: Any, path: Path, group: Any, name: str, links: int) -> Any:
    """Return the object that a name stands for, or None; links to other files are refused before they are opened."""
    node = group.file["/"] if name.startswith("/") else group
    for part in filter(None, name.split("/")):
        key = part.encode("utf-8", "surrogatepass")
        if not isinstance(node, h5py.Group) or not node.id.links.exists(key):
            return None
        link = node.id.links.get_info(key)  # h5py's own look-up of a name would open what it is linked to
        if link.type == h5py.h5l.TYPE_HARD:
            node = node[part]
        elif link.type != h5py.h5l.TYPE_SOFT:
            raise FeatureError(f"{path}: {part!r} is a link to another file, which is never read")
        elif links:
            target = node.id.links.get_val(key)
            node = _resolve(h5py, path, node, target.decode("utf-8", "replace"), links - 1)
        else:
            return None
    return node
