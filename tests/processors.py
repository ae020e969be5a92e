"""Environments in which NumPy, OpenBLAS and the C library compute as they do on an older processor."""

import numpy as np

_FOUND = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
_WIDEST = [name for name in _FOUND if name == "X86_V4" or name.startswith("AVX512")]

# The last two name x86's processors: elsewhere, and in a C library other than GNU's, nobody reads them.
OLDER: dict[str, dict[str, str]] = {
    "with AVX2 alone": {"NPY_DISABLE_CPU_FEATURES": " ".join(_WIDEST), "OPENBLAS_CORETYPE": "Haswell"},
    "with none of AVX": {
        "NPY_DISABLE_CPU_FEATURES": " ".join(_FOUND),
        "OPENBLAS_CORETYPE": "Prescott",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX2_Usable,-FMA_Usable",
    },
}
