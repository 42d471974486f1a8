"""The command: a real directory in; a table or JSON, one clear line or an exit status out."""

from __future__ import annotations

import io
import json
import os
import runpy
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import attr
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsbatch_core
from vsbatch_core import FileCounts
from vsbatch_core.cli import COMMANDS, main, progress
from vsbatch_core.scenarios import files, text
from vsbatch_core.scenarios.files import Found, Skipped, outcome, walk
from vsbatch_core.simulation import Completed, Failed

from ..helpers.brief import searching
from ..helpers.processes import Outputs, entry, finished, posix

pytestmark = pytest.mark.slow  # processes of their own, and large trees of files

SITE_PACKAGES = Path(attr.__file__).parent.parent
"""Thousands of real files: where this Python's packages are."""

UNSUPPORTED = "unsupported_file: The file type is not supported."
INVALID = "invalid_file: The file could not be parsed."
TOO_LARGE = "invalid_file: The file could not be parsed because it is too large."


def made(root: Path, sizes: dict[str, int]) -> Path:
    """Files of these sizes, sparse, below ``root``."""
    for name, size in sizes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, size)
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory in which everything happens that can happen on a case-sensitive file system."""
    root = made(
        tmp_path / "tree",
        {
            "b.txt": 5,
            "A.PDF": 2_000_000,
            "with space.md": 1,
            "sub/deep/x.py": 3,
            "sub/__init__.py": 0,
            "sub/lib.so": 9,
            "huge.json": files.MAX_BYTES + 1,
            "largest.json": files.MAX_BYTES,
            "README": 7,
            ".gitignore": 4,
            ".git/config": 4,
            ".git/hooks/pre-commit.sh": 4,
        },
    )
    (root / "link.txt").symlink_to("b.txt")
    (root / "loop").symlink_to("..", target_is_directory=True)
    (root / "broken.txt").symlink_to("nowhere")
    os.mkfifo(root / "pipe.txt")
    return root


ERRORS = {
    ".gitignore": UNSUPPORTED,
    "README": UNSUPPORTED,
    "huge.json": TOO_LARGE,
    "sub/__init__.py": INVALID,
    "sub/lib.so": UNSUPPORTED,
}
COMPLETED = {
    "A.PDF": 2_000_000,
    "b.txt": 5,
    "largest.json": files.MAX_BYTES,
    "link.txt": 5,
    "sub/deep/x.py": 3,
    "with space.md": 1,
}


@pytest.fixture
def ingest(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run ``vsbatch ingest`` in this process; answer the exit status, stdout and stderr."""

    def call(*argv: str | Path) -> Outputs:
        status = main(["ingest", *map(str, argv)])
        return (status, *capsys.readouterr())

    return call


@pytest.fixture
def ingest_json(ingest: Any) -> Any:
    """Run ``vsbatch ingest --json`` in this process; answer the document."""

    def call(*argv: str | Path) -> dict[str, Any]:
        status, out, err = ingest(*argv, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

    return call


# What is found


def test_a_walk_finds_every_regular_file_in_the_same_order_and_says_what_it_leaves_out(tree: Path) -> None:
    items = list(walk(str(tree)))
    # A directory's own files come first, upper case before lower, then its directories.
    assert [item.path for item in items if isinstance(item, Found)] == [
        ".gitignore",
        "A.PDF",
        "README",
        "b.txt",
        "huge.json",
        "largest.json",
        "link.txt",
        "with space.md",
        "sub/__init__.py",
        "sub/lib.so",
        "sub/deep/x.py",
    ]
    assert {(item.path, item.reason, item.unreadable) for item in items if isinstance(item, Skipped)} == {
        (".git/", "hidden directory", False),
        ("loop", "symbolic link to a directory", False),
        ("pipe.txt", "special file", False),
        ("broken.txt", "No such file or directory", True),
    }


def test_hidden_directories_are_walked_on_request(tree: Path) -> None:
    found = {item.path for item in walk(str(tree), hidden=True)}
    assert {".git/config", ".git/hooks/pre-commit.sh"} <= found
    assert ".git/" not in found


def test_a_hidden_directory_that_is_named_itself_is_walked(tree: Path) -> None:
    assert [item.path for item in walk(str(tree / ".git"))] == ["config", "hooks/pre-commit.sh"]


def test_a_walk_agrees_with_that_of_the_standard_library() -> None:
    expected = {
        os.path.relpath(os.path.join(folder, name), SITE_PACKAGES).replace(os.sep, "/")
        for folder, _, names in os.walk(SITE_PACKAGES)
        for name in names
        if "__pycache__" not in folder  # others may be compiling into it
    }
    found = [item.path for item in walk(str(SITE_PACKAGES), hidden=True) if isinstance(item, Found)]
    found = [path for path in found if "__pycache__" not in path]
    assert sorted(found) == sorted(expected)
    assert len(found) > 1000


def test_a_tree_deeper_than_the_recursion_limit_is_walked(tmp_path: Path) -> None:
    depths = range(1, sys.getrecursionlimit() + 100)
    for depth in depths:
        os.mkdir(f"{tmp_path}{'/d' * depth}")
    file = Path(f"{tmp_path}{'/d' * depths[-1]}/x.txt")
    file.touch()
    try:
        assert [item.path for item in walk(str(tmp_path))] == ["d/" * depths[-1] + "x.txt"]
    finally:
        # By hand: what pytest cleans up with is recursive.
        file.unlink()
        for depth in reversed(depths):
            os.rmdir(f"{tmp_path}{'/d' * depth}")


def test_what_may_not_be_read_is_reported(tree: Path, monkeypatch: pytest.MonkeyPatch, ingest: Any) -> None:
    # Not by modes: the superuser may read everything.
    scandir, access = os.scandir, os.access

    def deny_sub(path: str) -> Any:
        if path.endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny_sub)
    monkeypatch.setattr(os, "access", lambda path, mode: not path.endswith("b.txt") and access(path, mode))
    denied = {item.path for item in walk(str(tree)) if "Permission denied" in item}
    assert denied == {"sub/", "b.txt"}
    status, out, _ = ingest(tree)
    assert status == 0
    assert "  sub/: Permission denied\n" in out
    assert "3 unreadable" in out
    _, out, _ = ingest(tree, "--failures", "1")
    assert out.count("Permission denied") == 1
    assert out.endswith("  ... and 2 more, which --failures all prints\n")


# What becomes of it


@pytest.mark.parametrize("suffix", sorted(files.SUPPORTED))
@pytest.mark.parametrize("size", [1, 999, 10**6, files.MAX_BYTES])
def test_a_supported_file_completes_and_takes_longer_the_larger_it_is(suffix: str, size: int) -> None:
    for name in (f"x{suffix}", f"a/b.c/x{suffix.upper()}"):
        end = outcome(Found(name, size))
        assert isinstance(end, Completed)
        assert end.usage_bytes == size
        assert end.after > outcome(Found(name, size - 1)).after


@given(name=st.text(min_size=1).filter(lambda name: os.path.splitext(name)[1].lower() not in files.SUPPORTED))
def test_any_other_file_fails_as_unsupported_whatever_its_size(name: str) -> None:
    for size in (0, 1, files.MAX_BYTES + 1):
        assert outcome(Found(name, size)) == Failed("unsupported_file", after=files.OVERHEAD)


@given(st.lists(st.text(st.characters(), min_size=1), unique=True))
def test_ids_are_the_same_for_the_same_path_and_different_for_others(paths: list[str]) -> None:
    ids = [Found(path, 1).id for path in paths]
    assert len(set(ids)) == len(paths)
    assert ids == [Found(path, 2).id for path in paths]


@given(st.text(st.characters(), max_size=600))
def test_any_path_fits_into_attributes_and_into_any_json_reader(path: str) -> None:
    kept = Found(path, 1).attributes["path"]
    assert isinstance(kept, str)
    assert len(kept) <= 512
    kept.encode()  # no lone surrogate
    whole = text.well_formed(path)
    assert kept == whole or (len(whole) > 512 and kept == "…" + whole[-511:])
    assert text.legible(path).isprintable()


@pytest.mark.parametrize("characters", [511, 512, 513, 1000])
def test_of_a_long_path_the_end_is_kept(characters: int) -> None:
    path = f"first{'/' * (characters - 9)}last"
    kept = str(Found(path, 1).attributes["path"])
    assert len(kept) == min(characters, 512)
    assert kept.endswith("/last")
    assert kept.startswith("first/") == (characters <= 512)


@given(st.text())
def test_a_well_formed_name_stays_as_it_is(name: str) -> None:
    assert text.well_formed(name) == name


def test_lines_can_be_written_to_a_stream_of_any_encoding() -> None:
    narrow, unknown = io.TextIOWrapper(io.BytesIO(), encoding="ascii"), io.StringIO()
    for stream in (narrow, unknown):
        text.say(stream, "日本", "x")
        stream.seek(0)
    assert narrow.read() == "\\u65e5\\u672c\nx\n"
    assert unknown.read() == "日本\nx\n"


# What is printed


def failures_of(document: dict[str, Any]) -> dict[str, str]:
    return {
        file["attributes"]["path"]: f"{file['last_error']['code']}: {file['last_error']['message']}"
        for batch in document["file_batches"]
        for file in batch["failed_files"]
    }


def verified(document: dict[str, Any], files_found: int, batch_size: int) -> None:
    """The document's objects are the API's, and agree with each other."""
    store = vsbatch_core.wire.from_wire(document["vector_store"])
    batches = [vsbatch_core.wire.from_wire(entry["file_batch"]) for entry in document["file_batches"]]
    totals = [batch.file_counts.total for batch in batches]
    assert totals[:-1] == [batch_size] * (len(totals) - 1)
    assert 0 < totals[-1] <= batch_size
    assert sum(totals) == files_found
    assert store.file_counts == FileCounts(
        completed=sum(batch.file_counts.completed for batch in batches),
        failed=sum(batch.file_counts.failed for batch in batches),
    )
    assert store.status == "completed"
    failed = [
        [vsbatch_core.wire.from_wire(file) for file in entry["failed_files"]]
        for entry in document["file_batches"]
    ]
    assert [len(files) for files in failed] == [batch.file_counts.failed for batch in batches]
    everything = [file for files in failed for file in files]
    assert {file.status for file in everything} <= {"failed"}
    assert len({file.id for file in everything}) == len(everything)
    for batch in batches:
        assert batch.status == ("completed" if batch.file_counts.completed else "failed")


def test_the_document_says_what_became_of_every_file(tree: Path, ingest_json: Any) -> None:
    document = ingest_json(tree)
    verified(document, len(ERRORS) + len(COMPLETED), 2000)
    assert failures_of(document) == ERRORS
    assert document["vector_store"]["usage_bytes"] == sum(COMPLETED.values())
    assert document["vector_store"]["name"] == "tree"
    assert {item["path"] for item in document["skipped"]} == {".git/", "loop", "pipe.txt", "broken.txt"}


def test_hidden_directories_are_ingested_on_request(tree: Path, ingest_json: Any) -> None:
    document = ingest_json(tree, "--hidden")
    assert failures_of(document) == {**ERRORS, ".git/config": UNSUPPORTED}
    assert document["vector_store"]["file_counts"]["completed"] == len(COMPLETED) + 1


@pytest.mark.parametrize("batch_size", [1, 2, 4, 10, 11, 12])
def test_files_go_into_batches_of_the_size_asked_for(tree: Path, ingest_json: Any, batch_size: int) -> None:
    document = ingest_json(tree, "--batch-size", str(batch_size))
    verified(document, len(ERRORS) + len(COMPLETED), batch_size)
    assert failures_of(document) == ERRORS


def test_one_worker_takes_the_sum_of_all_durations_and_many_the_longest(tree: Path, ingest_json: Any) -> None:
    after = [outcome(item).after for item in walk(str(tree)) if isinstance(item, Found)]
    for workers, seconds in ((1, sum(after)), (8, None), (1000, max(after))):
        document = ingest_json(tree, "--workers", str(workers), "--batch-size", "4")
        ends = [batch["simulated_seconds"] for batch in document["file_batches"]]
        assert document["workers"] == workers
        if seconds is not None:
            assert max(ends) == pytest.approx(seconds, abs=1e-5)


def rows(out: str) -> dict[str, list[str]]:
    """The words of the table's lines, by batch."""
    lines = [line.split() for line in out.splitlines()]
    start = next(i for i, line in enumerate(lines) if line[:1] == ["batch"])
    return {line[0]: line[1:] for line in lines[start + 1 : lines.index([], start)]}


def test_the_text_says_the_same_as_the_document(tree: Path, ingest: Any, ingest_json: Any) -> None:
    document = ingest_json(tree, "--batch-size", "4")
    status, out, err = ingest(tree, "--batch-size", "4")
    assert (status, err) == (0, "")
    assert rows(out) == {
        entry["file_batch"]["id"]: [
            entry["file_batch"]["status"],
            *map(str, (entry["file_batch"]["file_counts"][name] for name in vsbatch_core.cli.report.COUNTS)),
            f"{entry['simulated_seconds']:,.1f}",
            "s",
        ]
        for entry in document["file_batches"]
    }
    for error, n in Counter(ERRORS.values()).items():
        heading, _, rest = out.partition(f" failed, {error}\n")
        assert heading.endswith(f"{n} file{'s' if n > 1 else ''}")
        listed = [line.split(maxsplit=2) for line in rest.partition("\n\n")[0].splitlines()]
        assert {path for _, _, path in listed} == {path for path in ERRORS if ERRORS[path] == error}
        for batch_id, file_id, path in listed:
            assert file_id == Found(path, 0).id
            batch = next(b for b in document["file_batches"] if b["file_batch"]["id"] == batch_id)
            assert file_id in {file["id"] for file in batch["failed_files"]}
    assert "1 hidden directory, 1 special file, 1 symbolic link to a directory, 1 unreadable" in out
    assert "  broken.txt: No such file or directory\n" in out


def test_a_tree_without_failures_says_nothing_of_any(tmp_path: Path, ingest: Any) -> None:
    _, out, _ = ingest(made(tmp_path, {"a.txt": 1}))
    assert "1 file, 1 byte in use" in out
    assert out.rstrip().endswith(" s")


@pytest.mark.parametrize(
    ("argv", "listed"),
    [((), 20), *((("--failures", n), k) for n, k in [("0", 0), ("7", 7), ("250", 250), ("all", 250)])],
)
def test_of_many_failures_some_are_listed_and_the_rest_are_counted(
    tmp_path: Path, ingest: Any, argv: tuple[str, ...], listed: int
) -> None:
    status, out, _ = ingest(made(tmp_path, {f"{i:03}.bin": 1 for i in range(250)}), *argv)
    assert status == 0
    assert [line.rpartition(" ")[2] for line in out.splitlines() if ".bin" in line] == [
        f"{i:03}.bin" for i in range(listed)
    ]
    assert f"250 files failed, {UNSUPPORTED}" in out
    assert (f"... and {250 - listed} more, which --failures all prints" in out) == (listed < 250)


def test_the_same_directory_gives_the_same_output_in_every_process(tree: Path) -> None:
    outputs = {finished(entry("ingest", tree, "--json", hash_seed=seed)) for seed in ("1", "2")}
    assert len(outputs) == 1
    ((status, out, err),) = outputs
    assert (status, err) == (0, "")
    assert failures_of(json.loads(out)) == ERRORS


@searching
def test_thousands_of_real_files_are_ingested_in_batches_of_2000() -> None:
    status, out, err = finished(entry("ingest", SITE_PACKAGES, "--json"))
    assert (status, err) == (0, "")
    document = json.loads(out)
    total = document["vector_store"]["file_counts"]["total"]
    assert total > 1000
    verified(document, total, 2000)


@posix
def test_names_with_odd_bytes_spaces_and_terminal_codes_come_through(tmp_path: Path, ingest: Any) -> None:
    names = [b"caf\xe9.bin", b"caf\xc3\xa9.bin", b"two\nlines.bin", b"\x1b[2J.bin", b" .bin"]
    for name in names:
        try:
            Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).touch()
        except OSError:
            pytest.skip("this file system takes no such names")
    status, out, _ = ingest(tmp_path)
    assert status == 0
    listed = {line[len("  vsfb_1  file-") + 26 :] for line in out.splitlines() if line.endswith(".bin")}
    assert listed == {"caf\\xe9.bin", "café.bin", "two\\nlines.bin", "\\x1b[2J.bin", " .bin"}
    status, out, err = finished(entry("ingest", tmp_path, "--json"))
    assert (status, err) == (0, "")
    listed = set(failures_of(json.loads(out)))
    assert listed == {"caf\\xe9.bin", "café.bin", "two\nlines.bin", "\x1b[2J.bin", " .bin"}


# What is refused


def refusal(outputs: Outputs) -> str:
    """The one line that says why."""
    status, out, err = outputs
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("vsbatch: ")
    return err


def test_a_path_that_does_not_exist_is_refused_in_one_line(tmp_path: Path, ingest: Any) -> None:
    assert f"there is no '{tmp_path}/nowhere'" in refusal(ingest(tmp_path / "nowhere"))
    assert f"there is no '{tmp_path}/nowhere'" in refusal(finished(entry("ingest", tmp_path / "nowhere")))
    assert "there is no 'null\\x00'" in refusal(ingest("null\0"))


def test_a_path_that_is_no_directory_is_refused_in_one_line(tree: Path, ingest: Any) -> None:
    assert "b.txt' is not a directory" in refusal(ingest(tree / "b.txt"))


def test_a_path_that_cannot_be_looked_at_is_refused_in_one_line(tmp_path: Path, ingest: Any) -> None:
    assert "cannot look at" in refusal(ingest(tmp_path / ("x" * 5000)))


def test_a_directory_without_files_is_refused_in_one_line(tmp_path: Path, ingest: Any) -> None:
    assert refusal(ingest(tmp_path)) == f"vsbatch: '{tmp_path}' holds no file; give a directory that does\n"
    made(tmp_path, {".git/config": 1, ".svn/entries": 1})
    assert "holds no file: 2 hidden directories (--hidden goes into" in refusal(ingest(tmp_path))


def test_a_directory_that_may_not_be_read_is_refused_in_one_line(
    tmp_path: Path, ingest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(_path: str) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", deny)
    assert "cannot read" in refusal(ingest(tmp_path))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], f"give a command, one of {', '.join(COMMANDS)}: 'vsbatch --help' describes them"),
        (["serv"], f"there is no command 'serv': give one of {', '.join(COMMANDS)}; did you mean 'serve'?"),
        (["x\x1b[2J"], f"there is no command 'x\\x1b[2J': give one of {', '.join(COMMANDS)}"),
        (["--vers"], "there is no argument '--vers': 'vsbatch --help' describes those that there are"),
        (
            ["ingest", ".", "--worker", "3"],
            "there is no argument '--worker', '3': 'vsbatch ingest --help' describes those that there are",
        ),
        (["ingest"], "the following arguments are required: PATH. See 'vsbatch ingest --help'"),
        (
            ["ingest", ".", "--workers", "0"],
            "argument --workers: '0' is not a whole number from 1. See 'vsbatch ingest --help'",
        ),
        (
            ["ingest", ".", "--workers", "many"],
            "argument --workers: 'many' is not a whole number from 1. See 'vsbatch ingest --help'",
        ),
        (
            ["ingest", ".", "--batch-size", "2001"],
            (
                "argument --batch-size: 2001 is more than 2000, the most files that the API takes. "
                "See 'vsbatch ingest --help'"
            ),
        ),
        (
            ["ingest", ".", "--failures", "-1"],
            "argument --failures: '-1' is neither a whole number from 0 nor 'all'. See 'vsbatch ingest --help'",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_line_that_says_what_to_give(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    assert capsys.readouterr() == ("", f"vsbatch: {said}\n")


# How it is called


def test_the_console_script_and_the_module_are_the_same_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["anything", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(Path(vsbatch_core.__file__).with_name("__main__.py")), run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"vsbatch {vsbatch_core.__version__}\n"
    (script,) = entry_points(group="console_scripts", name="vsbatch")
    assert script.load() is main


def test_help_says_what_is_left_out_and_what_completes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["ingest", "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert " ".join(sorted(files.SUPPORTED)) in " ".join(out.split())
    assert "--hidden" in out
    assert max(map(len, out.splitlines())) <= 114


# How it ends early


@pytest.mark.parametrize("argv", [["--help"], ["ingest", "{}"], ["ingest", "{}", "--json"]])
def test_output_that_nobody_reads_is_dropped_quietly(
    argv: list[str], tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main([word.format(tree) for word in argv]) == 141
    assert capsys.readouterr().err == ""


@posix
def test_a_reader_that_goes_away_halfway_hears_no_complaint() -> None:
    process = entry("ingest", SITE_PACKAGES, "--json")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    assert finished(process) == (141, "", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_told_in_one_line(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["ingest", str(tree)]) == 1
    assert capsys.readouterr().err == "vsbatch: cannot write the output: No space left on device\n"


def test_an_interrupt_ends_it_in_one_line(tree: Path, ingest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_path: str) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "scandir", interrupt)
    assert ingest(tree) == (130, "", "vsbatch: interrupted\n")


@posix
def test_ctrl_c_ends_it_in_one_line() -> None:
    # Whoever started the tests may have had the signal ignored, which processes inherit.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = entry("ingest", SITE_PACKAGES, "--json", start=f"{heed}; import vsbatch_core.__main__")
    assert process.stdout is not None
    # Its output is much larger than a pipe: once the first byte is here, it writes until it has to wait for us.
    assert process.stdout.read(1) == b"{"
    process.send_signal(signal.SIGINT)
    status, _, err = finished(process)
    assert (status, err) == (130, "vsbatch: interrupted\n")


# Progress


class Terminal(io.StringIO):
    """What calls itself a terminal."""

    def isatty(self) -> bool:
        return True


def shown(*, rich: bool, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[str, int, int | None]]) -> str:
    monkeypatch.setenv("TERM", "xterm")
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    terminal = Terminal()
    with progress.progress(terminal) as show:
        for call in calls:
            show(*call)
    return terminal.getvalue()


def test_without_rich_a_terminal_shows_one_line_that_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int | None]] = [("finding", i, None) for i in range(1, 201)]
    calls += [("going", i, 3) for i in range(4)]
    assert shown(rich=False, monkeypatch=monkeypatch, calls=calls) == (
        "\rfinding: 100\rfinding: 200\r"
        "going: [------------------------------] 0/3\r"
        "going: [##########--------------------] 1/3\r"
        "going: [####################----------] 2/3\r"
        "going: [##############################] 3/3\n"
    )


def test_a_shorter_line_covers_the_longer_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    out = shown(rich=False, monkeypatch=monkeypatch, calls=[("a long title", 0, None), ("short", 0, None)])
    first, second = out.rstrip("\n").split("\r")[1:]
    assert len(second) >= len(first)


def test_where_nothing_is_done_no_line_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(rich=False, monkeypatch=monkeypatch, calls=[]) == ""


def test_with_rich_a_terminal_shows_a_bar_for_each_thing_done(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int | None]] = [("finding", 100, None), ("finding", 150, None)]
    out = shown(rich=True, monkeypatch=monkeypatch, calls=[*calls, *(("going", i, 400) for i in range(401))])
    assert "finding" in out
    assert "150" not in out
    assert "400/400" in out


def test_a_long_way_is_drawn_about_a_hundred_times(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int | None]] = [("going", i, 123_456) for i in range(123_457)]
    assert 90 < shown(rich=False, monkeypatch=monkeypatch, calls=calls).count("\r") < 130


@pytest.mark.parametrize("rich", [False, True])
def test_an_error_goes_through_the_progress_that_it_ends(rich: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        shown(rich=rich, monkeypatch=monkeypatch, calls=interrupted())  # type: ignore[arg-type]


def interrupted() -> Iterator[tuple[str, int, int | None]]:
    yield "going", 0, 1
    raise KeyboardInterrupt


@posix
@pytest.mark.parametrize("hide", [None, "rich"])
def test_a_bar_is_drawn_on_a_real_terminal_and_the_output_stays_clean(tree: Path, hide: str | None) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = entry("ingest", tree, "--json", hide=hide, stderr=theirs)
    os.close(theirs)
    drawn = b""
    with open(ours, "rb", buffering=0) as terminal:
        while True:
            try:
                piece = terminal.read(4096)
            except OSError:  # Linux says so when the other end is closed
                break
            if not piece:
                break
            drawn += piece
    status, out, _ = finished(process)
    assert status == 0
    assert failures_of(json.loads(out)) == ERRORS
    assert b"processing" in drawn
    assert b"11/11" in drawn
    assert (b"[####" in drawn) == (hide is not None)


def test_rich_is_not_needed(tree: Path) -> None:
    assert finished(entry("ingest", tree, hide="rich")) == finished(entry("ingest", tree))
