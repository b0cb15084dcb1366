"""How often a random test tries, where the profile's own number isn't right."""

from hypothesis import settings

USUAL = 100
"""The number of the default profile in conftest.py."""


def examples(count: int) -> int:
    """So many in the default profile, and in proportion more in the nightly one.

    Args:
        count: in the default profile.
    """
    return max(1, count * settings().max_examples // USUAL)
