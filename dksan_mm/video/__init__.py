"""Videos and folders of frames, in and out. Needs NumPy and PyAV alone.

Raises:
    ImportError: PyAV is too new.
"""
from importlib import metadata

try:
    _found = metadata.version('av')
except metadata.PackageNotFoundError:
    _found = '0'  # the modules that need it say so
if int(_found.partition('.')[0]) >= 19:
    raise ImportError(
        "PyAV must be below 19, whose av.open has no 'metadata_errors', "
        f"found {_found}: pip install 'av<19'")
