"""The two source trees that are compared, and what git says of them."""

import re
import shutil
import subprocess
from pathlib import Path

from check_measure import NothingToCompareError

PACKAGE = "src"


def copied(root: Path, folder: Path) -> Path:
    """Copy a checkout's src, so that it can be edited meanwhile; returns where."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(root / PACKAGE, folder / PACKAGE, ignore=ignored))


def git(root: Path, *arguments: str) -> str:
    """What git says; `NothingToCompareError` with its complaint if it doesn't."""
    if shutil.which("git") is None:
        raise NothingToCompareError("there is no git here: give a folder to compare with")
    done = subprocess.run(  # noqa: S603  refs that a developer has given
        ["git", "-C", str(root), *arguments],  # noqa: S607  whichever git is on the path
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        raise NothingToCompareError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def default_ref(root: Path) -> str:
    """The commit before the present work.

    Returns:
        Where the branch has left origin/main; if it hasn't, the last commit when there are changes
        in src that aren't committed, and else the one before it.
    """
    head = git(root, "rev-parse", "HEAD")
    try:
        base = git(root, "merge-base", "origin/main", "HEAD")
    except NothingToCompareError:  # no origin, or a shallow clone that doesn't reach back so far
        base = head
    if base != head:
        return base
    if git(root, "status", "--porcelain", "--", PACKAGE):
        return head
    try:
        return git(root, "rev-parse", "--verify", "HEAD~1")
    except NothingToCompareError as error:
        raise NothingToCompareError(
            "this clone has no earlier commit to compare with: git fetch --unshallow, or name a REF"
        ) from error


def differs(root: Path, ref: str) -> bool:
    """Whether src isn't what it was."""
    tracked = git(root, "diff", "--name-only", ref, "--", PACKAGE)
    return bool(tracked or git(root, "ls-files", "--others", "--exclude-standard", "--", PACKAGE))


def extract(root: Path, ref: str, folder: Path) -> Path:
    """Put src as it was into a folder; returns where."""
    folder.mkdir()
    archive = folder / "src.tar"
    git(root, "archive", "--output", str(archive), ref, PACKAGE)
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)  # noqa: S603, S607
    return folder / PACKAGE


def accepted(root: Path, ref: str) -> set[str]:
    """The figures whose cost the commits since then have declared."""
    messages = git(root, "log", "--format=%B", f"{ref}..HEAD")
    return set(re.findall(r"^Costs: (.+?)\s*$", messages, re.MULTILINE))
