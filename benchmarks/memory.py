"""How much memory this process has taken at the most.

`ru_maxrss` is no answer in a child: Linux hands the parent's own peak on to it.
"""

from pathlib import Path

_PEAK = "VmHWM:"


def peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(_PEAK)) / 1024
