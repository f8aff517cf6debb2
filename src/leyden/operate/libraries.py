"""The C libraries that are really loaded: their versions, and the oldest that should be.

Images of strangers are read by C code that comes inside wheels, or from the system; neither is seen in the versions of
Python packages. FLOORS names for each library the version that mended its last fault that a stranger can reach, as far
as known. It is kept by hand; tests/packaging/test_bill.py fails below it. What a distribution has mended in an older
version looks too old here. Deliberately absent: expat and libyaml, which read nothing of ours.
"""

import ctypes
import re
import ssl
import zlib
from typing import NamedTuple

FLOORS = {
    "OpenJPEG": ("2.5.4", "CVE-2025-54874, a write beyond the heap; what 2.5.4 still has, our checks keep out"),
    "OpenJPH": ("0.21.0", "no CVE that we know; it encodes only"),
    "CharLS": ("2.4.0", "no CVE that we know"),
    "libjpeg-turbo": ("3.0.0", "CVE-2023-2804, a write beyond the heap with 12 bits"),
    "libjxl": ("0.11.2", "CVE-2026-1837, a write to memory of others"),
    "libdeflate": ("1.0", "no CVE that we know; it encodes only"),
    "zlib": ("1.2.13", "CVE-2022-37434, a write beyond the heap"),
    "OpenSSL": ("3.0.15", "CVE-2024-6119, a crash by a certificate when the name of a node is checked"),
    "libuv": ("1.48.0", "CVE-2024-24806, an address other than the one that was asked for"),
}


class Library(NamedTuple):
    """A library and who brought it. `old`: it is below its floor."""

    name: str
    version: str
    by: str

    @property
    def old(self) -> bool:
        return numbers(self.version) < numbers(FLOORS[self.name][0])


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, to be compared: 1.2.13 is newer than 1.2.9."""
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def loaded() -> list[Library]:
    """All of them. Takes as long as a worker's start, about half a second, as it loads the codecs."""
    import imagecodecs
    from cryptography.hazmat.backends.openssl import backend
    from uvloop import loop

    from leyden.transcode import jpegls, openjpeg

    def of_imagecodecs(name: str, said: object) -> Library:
        return Library(name, str(said).split("/")[0].split(" ")[-1], "imagecodecs")

    uv = loop.libuv_get_version()  # type: ignore[attr-defined]
    found = [
        Library("OpenJPEG", openjpeg.version(), "imagecodecs, or the system"),
        of_imagecodecs("OpenJPH", imagecodecs.htj2k_version()),
        of_imagecodecs("CharLS", imagecodecs.jpegls_version()),
        of_imagecodecs("libjpeg-turbo", imagecodecs.jpeg8_version()),
        of_imagecodecs("libjxl", imagecodecs.jpegxl_version()),
        of_imagecodecs("libdeflate", imagecodecs.deflate_version()),
        Library("zlib", zlib.ZLIB_RUNTIME_VERSION, "Python"),
        Library("OpenSSL", ssl.OPENSSL_VERSION.split()[1], "Python"),
        Library("OpenSSL", backend.openssl_version_text().split()[1], "cryptography"),
        Library("libuv", f"{uv >> 16}.{uv >> 8 & 255}.{uv & 255}", "uvloop"),
    ]
    if jpegls._charls is not None:  # it encodes
        version_of = jpegls._charls.charls_get_version_string
        version_of.restype = ctypes.c_char_p
        found.insert(3, Library("CharLS", version_of().decode(), "pyjpegls, or the system"))
    return found
