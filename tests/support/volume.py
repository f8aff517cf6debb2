"""Disks for the tests: a file system in an image on a loop device, whose power can be cut."""

import contextlib
import fcntl
import itertools
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

FS_IOC_SHUTDOWN = 0x8004587D
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
NOLOGFLUSH = 2  # what the journal holds only in memory is lost, as in a power cut
_COMMIT_S = 300  # the journal writes nothing by itself within a test


_MKFS = {"ext4": ("-F", "-q"), "xfs": ("-f", "-q"), "btrfs": ("-f", "-q")}
_MOUNT = {
    "ext4": f"loop,errors=remount-ro,commit={_COMMIT_S}",
    "xfs": "loop,nouuid",
    "btrfs": f"loop,commit={_COMMIT_S}",
}
_LEAST_MIB = {"ext4": 64, "xfs": 300, "btrfs": 128}  # that mkfs takes; the images are sparse


class Volume:
    """A file system in an image file, mounted at `place`. Skips the test where that is not allowed."""

    def __init__(self, image: Path, place: Path, size_mib: int = 0, inodes: int = 0, kind: str = "ext4") -> None:
        self.place, self.kind = place, kind
        self._image, self._frozen = image, False
        place.mkdir(parents=True, exist_ok=True)
        mkfs = shutil.which(f"mkfs.{kind}", path=os.pathsep.join([*os.get_exec_path(), "/sbin", "/usr/sbin"]))
        if mkfs is None or os.geteuid() != 0:
            reason = f"no loop mounts here: that takes root and mkfs.{kind}"
            (pytest.fail if mkfs is None and os.environ.get("CI") == "true" else pytest.skip)(reason)
        with open(image, "wb") as file:
            file.truncate((size_mib or _LEAST_MIB[kind]) << 20)
        options = ("-N", str(inodes)) if inodes else ()
        subprocess.run([mkfs, *_MKFS[kind], *options, image], check=True, capture_output=True)
        try:
            self.mount()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"{kind} cannot be mounted here: {error.stderr.decode().strip()}")
        place.chmod(0o700)  # as a spool has to be

    def mount(self) -> None:
        subprocess.run(["mount", "-o", _MOUNT[self.kind], self._image, self.place], check=True, capture_output=True)

    def umount(self) -> None:
        """Unmount it; no file there may be open."""
        subprocess.run(["umount", self.place], check=True, capture_output=True)

    def freeze(self) -> None:
        """Writers hang until thaw(), and can't even be killed: like a share whose server does not answer."""
        self._control(FIFREEZE)
        self._frozen = True

    def thaw(self) -> None:
        if self._frozen:
            self._frozen = False
            self._control(FITHAW)

    def _control(self, request: int, argument: int = 0) -> None:
        fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, request, struct.pack("I", argument))
        finally:
            os.close(fd)

    def end(self) -> None:
        self.thaw()
        if os.path.ismount(self.place):
            self.umount()

    def cut(self) -> None:
        """Cut the power: what was not forced to the disk is lost, and every call fails until remount().

        btrfs knows no such order: there the disk is as it was at this moment, once it is mounted anew.
        """
        if self.kind == "btrfs":
            subprocess.run(["cp", "--sparse=always", self._image, self._kept], check=True)
        else:
            self._control(FS_IOC_SHUTDOWN, NOLOGFLUSH)

    @property
    def _kept(self) -> Path:
        return self._image.with_suffix(".kept")

    def remount(self) -> None:
        """Mount it anew after a cut; no file there may be open.

        The image is a copy: another test may have begun a mount namespace meanwhile, and holds the old one there.
        """
        self.umount()
        if not self._kept.exists():
            subprocess.run(["cp", "--sparse=always", self._image, self._kept], check=True)
        self._kept.replace(self._image)
        self.mount()

    def sync(self) -> None:
        """Force everything so far to the disk (syncfs(2))."""
        subprocess.run(["sync", "--file-system", self.place], check=True)

    def break_down(self) -> None:
        """The file system finds an error in itself and becomes read-only (errors=remount-ro)."""
        device = os.stat(self.place).st_dev
        name = Path(os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")).name
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1")

    def fill(self) -> Path:
        """A file that takes all the free space; remove it to get the space back."""
        ballast = self.place / "ballast"
        with open(ballast, "wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:
                    continue
        return ballast

    def fill_inodes(self) -> Path:
        """A folder of empty files that take all free inodes; remove it to get them back."""
        folder = self.place / "ballast"
        folder.mkdir()
        with contextlib.suppress(OSError):
            for number in itertools.count():
                (folder / str(number)).touch()
        return folder
