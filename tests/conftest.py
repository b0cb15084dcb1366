"""How many examples hypothesis tries, and what a test may expect of the process it runs in.

Few examples and always the same, or, in `make nightly`, fifty times as many and new ones.
"""

import os
import signal

from hypothesis import settings

settings.register_profile("default", deadline=None, max_examples=100, derandomize=True)
settings.register_profile("nightly", deadline=None, max_examples=5000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# A shell without job control starts what runs in the background with SIGINT ignored, and so do some
# build servers; tests that interrupt themselves would then wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
