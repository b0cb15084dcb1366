"""Two workers at the moment that matters: traced_pair.py PROGRAM DIRECTORY LOG.

The first has opened a file and waits; the second takes the same file, works, removes and closes it;
then the first goes on. So whatever PROGRAM does wrong there, it does every time.
"""

import subprocess
import sys

program, directory, log = sys.argv[1:]
# As this one was started: without the site's packages it is quicker.
options = ["-I", "-S"] if sys.flags.isolated else []
worker = [sys.executable, *options, program, directory, log]
with subprocess.Popen([*worker, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
    assert first.stdin is not None
    assert first.stdout is not None
    first.stdout.readline()
    subprocess.run(worker, check=True)
    first.communicate(b"\n" * 100)
sys.exit(first.returncode)
