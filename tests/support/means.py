"""What tests and faults need besides PyPI: commands, and Debian's packages that hold them."""

import os
import shutil

MEANS = {
    "docker-compose": "docker-compose", "git": "git", "haproxy": "haproxy", "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs", "mount": "mount", "nft": "nftables", "nsenter": "util-linux",
    "setpriv": "util-linux", "strace": "strace", "systemd-analyze": "systemd", "umount": "mount",
    "unshare": "util-linux",
}  # fmt: skip


def wanting(*commands: str) -> list[str]:
    """What this machine does not have to play faults that need root, each with what to do."""
    missing = [f"{name}: apt install {MEANS[name]}" for name in commands if not shutil.which(name)]
    return (
        missing
        if os.geteuid() == 0
        else ["root: these faults stop disks and cut networks", *missing]
    )
