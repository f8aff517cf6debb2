"""A codec that does the wrong thing to some images, in the workers of a service and in nobody else."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SEGFAULT, HANG, KILLED, NO_MEMORY = "segfault", "hang", "killed", "memory"
_HOOK = """\
import sys
if "role" in sys.orig_argv and "worker" in sys.orig_argv:
    import ctypes, os, signal
    from leyden.transcode import openjpeg

    right = openjpeg.encode

    def encode(planes, pixels, *more, **named):
        with open(os.environ["CODEC_FAULT"], "rb") as file:
            what, _, begins = file.read().partition(b" ")
        if what and bytes(pixels[: len(begins)]) == begins:
            match what:
                case b"segfault":
                    ctypes.string_at(0)
                case b"hang":
                    ctypes.CDLL(None).select(0, None, None, None, None)  # for ever, in C
                case b"killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                case b"memory":
                    bytearray(1 << 46)
        return right(planes, pixels, *more, **named)

    openjpeg.encode = encode
"""


class CodecFaults:
    """`environment` is for the service whose JPEG 2000 encoder shall have faults: a hook of the site."""

    def __init__(self, folder: Path, orders: Path) -> None:
        """`folder`: an empty one may be made there; `orders`: one that the workers may read in."""
        (folder / "hook").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(_HOOK)
        self._orders = orders / "codec.fault"
        self._orders.write_bytes(b"")
        path = os.pathsep.join(filter(None, (str(folder / "hook"), os.environ.get("PYTHONPATH"))))
        self.environment = {"PYTHONPATH": path, "CODEC_FAULT": str(self._orders)}

    @contextmanager
    def during(self, what: str, begins: bytes) -> Iterator[None]:
        """While the block runs, each image whose pixels begin so is the end of its worker."""
        self._orders.write_bytes(what.encode() + b" " + begins)
        try:
            yield
        finally:
            self._orders.write_bytes(b"")
