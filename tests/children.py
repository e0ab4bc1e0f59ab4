"""Processes that this one has started through `training.processes`."""

from __future__ import annotations

import psutil


def fitting() -> list[psutil.Process]:
    """Those that run tasks now: what the process that forks them has forked."""
    servers = [child for child in psutil.Process().children() if "forkserver" in " ".join(child.cmdline())]
    return [child for server in servers for child in server.children()]
