"""How large each file of a bundle may be, in bytes, wherever the bundle comes from."""

MOST_BYTES = {
    "manifest.json": 2**16,
    "model.txt": 2**26,
    "golden.json": 2**24,
    "population.json": 2**20,
    **dict.fromkeys(("policy.json", "features.json", "scoring.py", "leaf_masks.py"), 2**20),
}
