"""Counts in words: no receipts, 1 receipt, 1,234 receipts."""


def counted(count: int, one: str, many: str = "") -> str:
    """`many`: where it is not `one` with an s."""
    noun = one if count == 1 else many or f"{one}s"
    return f"{count:,} {noun}" if count else f"no {noun}"
