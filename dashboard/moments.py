"""Writes moments as the clock shows them where the dashboard runs."""

from datetime import datetime, timedelta


def moment(text: str) -> str:
    """« 27/11/2026 à 08 h 06 (UTC+1) » of a moment as the API tells it."""
    local = datetime.fromisoformat(text).astimezone()
    return f"{local:%d/%m/%Y à %H h %M} ({_zone(local.utcoffset() or timedelta())})".replace(
        " h ", "\u00a0h\u00a0"
    )


def day(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone():%d/%m/%Y}"


def _zone(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    if not minutes:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    sign = "+" if minutes > 0 else "\u2212"
    return f"UTC{sign}{hours}{f':{rest:02}' if rest else ''}"
