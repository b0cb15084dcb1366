"""Compare the working tree with an earlier state: fails if any figure is more than 10 % worse.

    make bench-check                                     with what comes before the present work
    make bench-check ARGUMENTS="HEAD~5"                  with a commit
    make bench-check ARGUMENTS="../other-checkout"       with a folder that has a src
    make bench-check ARGUMENTS="--figure 'empty view'"   that alone
    make bench-check ARGUMENTS="--profile 'new record'"  no comparison: where its time goes

Without REF, what is compared with is where this branch has left origin/main, if it has; else the
last commit, if src has changes; else the commit before that. Instructions are counted where
callgrind (valgrind) is there, else processor time is compared.

A regression that was decided on is none if a commit since REF says so in its message, on a line of
its own: `Costs: new record`, with the figure's name. The rest of the message says what for.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from check_figures import FIGURES, Figure
from check_measure import CheckError, NothingToCompareError, Tree, Worker, count, pair, prepare, say
from check_profile import by_function, c_table, python_table
from check_trees import PACKAGE, accepted, copied, default_ref, differs, extract, git
from check_verdict import Verdict, as_json, judge, table

ROOT = Path(__file__).parent.parent


def compare(
    given: argparse.Namespace, trees: list[Tree], figures: Sequence[Figure]
) -> list[Verdict]:
    """Measure both trees; what looks like a regression and could be noise, twice."""
    ref, tree = trees
    try:
        prepare(ref, figures, counting=given.counting)
    except CheckError as error:
        raise NothingToCompareError(str(error)) from error
    prepare(tree, figures, counting=given.counting)
    if given.counting:
        count(trees, figures, together=given.short)
    else:
        pair(trees, figures, rounds=given.rounds, pairs=given.pairs)
    verdicts = [judge(figure, ref, tree, counting=given.counting) for figure in figures]
    suspects = [
        figure
        for figure, verdict in zip(figures, verdicts, strict=True)
        if verdict.regressed and figure.kind != "bytes" and not given.counting
    ]
    if suspects:
        say(f"once more, with new processes: {', '.join(figure.name for figure in suspects)}")
        for each in trees:
            for figure in suspects:
                each.values.pop(figure.name)
        pair(trees, suspects, rounds=given.rounds, pairs=given.pairs)
        verdicts = [judge(figure, ref, tree, counting=given.counting) for figure in figures]
    return verdicts


def profile(given: argparse.Namespace, tree: Tree, figure: Figure) -> None:
    """Print where the time of an operation goes."""
    prepare(tree, [figure], counting=True)
    with Worker(tree) as worker:
        found = worker.ask("profile", figure, figure.counted)
    sys.stdout.write(python_table(found, figure.counted))
    if given.counting:
        say("counting instructions")
        with Worker(tree, counting=True) as worker:
            parts = worker.ask("measure", figure, figure.counted)["parts"]
            functions = by_function(worker.dump(parts[0]["mark"]))
        sys.stdout.write(c_table(functions, figure.counted))


def figures_named(names: Sequence[str]) -> list[Figure]:
    """The figures with these names; all if there are none."""
    known = {figure.name: figure for figure in FIGURES}
    for name in names:
        if name not in known:
            raise CheckError(f"there is no figure {name!r}; there are: {', '.join(known)}")
    return [known[name] for name in names] or list(FIGURES)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ref", nargs="?", metavar="REF", help="a commit, or a folder with a src")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    parser.add_argument(
        "--short", action="store_true", help="for CI: what noise could explain doesn't fail"
    )
    parser.add_argument("--figure", action="append", default=[], help="this one (again: and that)")
    parser.add_argument("--profile", metavar="FIGURE", help="where its time goes; no comparison")
    parser.add_argument(
        "--time", action="store_true", help="processor time, though valgrind is here"
    )
    parser.add_argument("--tree", type=Path, default=ROOT, help="instead of the working tree")
    parser.add_argument("--rounds", type=int, help="of new processes for timing; 3, short 2")
    parser.add_argument("--pairs", type=int, help="of samples in a round; 9, short 5")
    given = parser.parse_args()
    given.counting = not given.time and shutil.which("valgrind") is not None
    given.rounds = given.rounds or (2 if given.short else 3)
    given.pairs = given.pairs or (5 if given.short else 9)
    return given


def against(given: argparse.Namespace, folder: Path) -> tuple[Tree, set[str]]:
    """What to compare with, and which costs have been declared since."""
    source, work = folder / "ref", folder / "ref-work"
    if given.ref is not None and (Path(given.ref) / PACKAGE).is_dir():
        return Tree(given.ref, copied(Path(given.ref), source), work), set()
    ref = given.ref or default_ref(given.tree)
    commit = git(given.tree, "rev-parse", "--verify", f"{ref}^{{commit}}")
    if given.short and not differs(given.tree, commit):
        raise NothingToCompareError(f"src is as it was in {commit[:10]}")
    extracted = extract(given.tree, commit, source)
    return Tree(commit[:10], extracted, work), accepted(given.tree, commit)


def run(given: argparse.Namespace, folder: Path) -> int:
    """Do what was asked for; returns the exit status."""
    if given.profile:
        tree = Tree("tree", copied(given.tree, folder / "new"), folder / "new-work")
        profile(given, tree, figures_named([given.profile])[0])
        return 0
    figures = figures_named(given.figure)
    ref, declared = against(given, folder)
    # As long a path as the other's: where things lie in memory depends on that too, and costs up to
    # a hundredth.
    tree = Tree("tree", copied(given.tree, folder / "new"), folder / "new-work")
    verdicts = compare(given, [ref, tree], figures)
    for line in verdicts:
        if line.regressed and line.figure in declared:
            line.verdict = "more, as declared"
    if given.json:
        by = "instructions" if given.counting else "processor time"
        report = {"ref": ref.name, "by": by, "figures": as_json(verdicts)}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        sys.stdout.write(table(verdicts, ref.name, tree.name) + "\n")
    sys.stdout.flush()
    return status(given, verdicts)


def status(given: argparse.Namespace, verdicts: Sequence[Verdict]) -> int:
    """1 for a regression; but the short form doesn't fail on what is only timed."""
    broken = [line.figure for line in verdicts if line.broken]
    if broken:
        say(f"!!! the tree can't do any more: {', '.join(broken)}")
    worse = [line for line in verdicts if line.regressed]
    if worse:
        say(f"!!! more than 10 % worse: {', '.join(line.figure for line in worse)}")
        say("!!! see where: make bench-check ARGUMENTS=\"--profile 'FIGURE'\"")
        say("!!! if it is worth that, say so in the commit, on a line of its own: Costs: FIGURE")
    timed = not given.counting and all(line.unit == "s" for line in worse)
    if worse and given.short and timed:
        say("!!! this is processor time on a busy machine, if measured twice: it doesn't fail here")
        worse = []
    return 1 if worse or broken else 0


def main() -> None:
    """The command line."""
    given = arguments()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-check-") as folder:
            code = run(given, Path(folder))
    except NothingToCompareError as error:
        say(f"bench-check: nothing to compare with: {error}")
        code = 0 if given.short else 2
    except CheckError as error:
        say(f"bench-check: {error}")
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
