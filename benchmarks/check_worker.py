"""The process in which check_measure.py has things measured, with the cairndb of its PYTHONPATH.

First it measures the import itself, so what else it needs is imported later, with check_serving.py.
The calls of `getppid` are explained there.
"""

import os
import sys
import time


def main() -> None:
    """Import, and serve."""
    began = time.process_time()
    os.getppid()
    import cairndb  # noqa: PLC0415  this is what is measured

    os.getppid()
    seconds = time.process_time() - began

    from check_serving import serve  # noqa: PLC0415  it has many imports of its own

    serve(sys.argv[1], {"package": cairndb.__file__, "seconds": seconds, "mark": 2})


if __name__ == "__main__":
    main()
