"""The `cairn` command: `python -m cairndb` is the same."""

import sys


def main() -> int:
    """Run the command line.

    Returns:
        The exit code: see `cairndb.cli.output`.
    """
    try:
        import rich  # noqa: F401, PLC0415  only to see whether it is there
        import typer  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        sys.stderr.write(f"cairn needs {error.name}: pip install 'cairndb[cli]'\n")
        return 2
    from cairndb import cli  # noqa: PLC0415  not before it is known to work

    cli.take_over_process()
    return cli.run()


if __name__ == "__main__":
    sys.exit(main())
