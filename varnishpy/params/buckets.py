"""What ``latency_buckets`` may be."""

from __future__ import annotations

MOST_BUCKETS = 50
DEFAULT_BUCKETS = "0.0001 0.00025 0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10"


def parse_buckets(text: str) -> list[float]:
    """Upper bounds of buckets in seconds, from numbers with blanks or commas between.

    :raises ValueError: no number, none or too many of them, one that is not above 0 or not above the one before
    """
    bounds = [float(word) for word in text.replace(",", " ").split()]
    if not 1 <= len(bounds) <= MOST_BUCKETS:
        raise ValueError(f"one to {MOST_BUCKETS} numbers are needed")
    if not all(low < high < float("inf") for low, high in zip([0.0, *bounds], bounds, strict=False)):
        raise ValueError("each must be greater than the one before, and the first than 0")
    return bounds


def wrong_buckets(text: str) -> str:
    """Why this is no value of ``latency_buckets``; empty if it is one."""
    try:
        parse_buckets(text)
    except ValueError as error:
        return f"latency_buckets are bounds in seconds, such as 0.001 0.01 0.1 1: {error} ({text})"
    return ""
