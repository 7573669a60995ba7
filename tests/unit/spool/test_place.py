"""A ``spool.path`` that cannot be used is named, with what stands in the way and what to do."""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.errors import SpoolError
from gateway.spool.sqlite import SqliteSpool
from gateway.spool.sqlite.files import check_files, numbers_in
from gateway.spool.sqlite.folder import explained, look_at
from gateway.telemetry import Telemetry
from tests.support.processes import gateway


def a_file(tmp_path: Path) -> tuple[Path, str]:
    (tmp_path / "taken").write_text("")
    return tmp_path / "taken", "taken is a file and no folder"


def a_component_that_is_a_file(tmp_path: Path) -> tuple[Path, str]:
    (tmp_path / "taken").write_text("")
    return tmp_path / "taken" / "below" / "spool", "taken is a file and no folder"


def a_link_to_a_file(tmp_path: Path) -> tuple[Path, str]:
    (tmp_path / "taken").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "taken")
    return tmp_path / "link", "link is a file and no folder"


def a_dangling_link(tmp_path: Path) -> tuple[Path, str]:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    return tmp_path / "link", "gone, which does not exist"


def a_component_that_is_a_dangling_link(tmp_path: Path) -> tuple[Path, str]:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    return tmp_path / "link" / "spool", "gone, which does not exist"


def a_loop_of_links(tmp_path: Path) -> tuple[Path, str]:
    (tmp_path / "link").symlink_to(tmp_path / "link")
    return tmp_path / "link", "link: Too many levels"


def a_name_that_is_too_long(tmp_path: Path) -> tuple[Path, str]:
    return tmp_path / ("n" * 300), "File name too long"


def a_folder_of_the_kernel(_: Path) -> tuple[Path, str]:
    return Path("/proc/spool"), "/proc"


def a_device(_: Path) -> tuple[Path, str]:
    return Path("/dev/null"), "/dev/null is a file and no folder"


OBSTACLES = [
    a_file,
    a_component_that_is_a_file,
    a_link_to_a_file,
    a_dangling_link,
    a_component_that_is_a_dangling_link,
    a_loop_of_links,
    a_name_that_is_too_long,
    a_folder_of_the_kernel,
    a_device,
]

obstacles = pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda each: each.__name__)

Obstacle = Callable[[Path], tuple[Path, str]]


def spool_at(directory: Path) -> SqliteSpool:
    return SqliteSpool(
        directory,
        clock=SystemClock(),
        telemetry=Telemetry(),
        max_bytes=2**30,
        min_free_bytes=0,
    )


@obstacles
async def test_opening_says_what_is_in_the_way(tmp_path: Path, obstacle: Obstacle) -> None:
    directory, text = obstacle(tmp_path)
    with pytest.raises(SpoolError) as caught:
        await spool_at(directory).open()
    assert str(caught.value).startswith(f"spool.path: {directory} cannot be used: ")
    assert text in str(caught.value)
    assert "name another folder" in str(caught.value)


@obstacles
def test_looking_finds_it_and_changes_nothing(tmp_path: Path, obstacle: Obstacle) -> None:
    directory, text = obstacle(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    if directory.parts[1] != "proc":  # where it only shows when a folder is made
        assert text in look_at(directory).problem
    assert sorted(tmp_path.rglob("*")) == before


def test_place_that_can_be_used_tells_its_room(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "to" / "be" / "made", Path(os.path.relpath(tmp_path))):
        place = look_at(directory)
        assert place.problem == ""
        assert abs(place.disk_free - shutil.disk_usage(tmp_path).free) < 2**33
    assert list(tmp_path.iterdir()) == []


def as_nobody(folder: Path, call: Callable[[], None]) -> str:
    """Return what a call says that it raises; root may write everywhere, so a child does it."""
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    for each in (folder, *folder.parents):
        if each.is_relative_to("/tmp") and each != Path("/tmp"):
            each.chmod(0o755)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setuid(65534)
        try:
            call()
        except SpoolError as error:
            os.write(writing, str(error).encode())
        except BaseException as error:
            os.write(writing, repr(error).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    said = os.read(reading, 10_000).decode()
    os.close(reading)
    return said


def test_folder_of_somebody_else_is_named_with_the_user(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o755)

    def look() -> None:
        raise SpoolError(look_at(folder / "spool").problem)

    assert f"user 65534 may not write to {folder}" in as_nobody(folder, look)


def test_file_system_that_is_only_to_be_read_is_named(tmp_path: Path) -> None:
    text = explained(tmp_path / "spool", OSError(errno.EROFS, os.strerror(errno.EROFS)))
    assert f"{tmp_path} is on a file system that is only to be read" in text


def test_workers_that_cannot_be_counted_are_an_error_and_missing_ones_are_none(
    tmp_path: Path,
) -> None:
    assert numbers_in(tmp_path / "missing") == []
    (tmp_path / "taken").write_text("")
    with pytest.raises(SpoolError, match=re.escape(str(tmp_path / "taken"))):
        numbers_in(tmp_path / "taken")


FILES = [f"worker-0.{end}" for end in ("db", "db-wal", "db-shm", "lock", "ledger", "recovered")]


def a_folder_instead(path: Path) -> str:
    path.mkdir()
    return "is a folder and no file"


def a_pipe_instead(path: Path) -> str:
    os.mkfifo(path)
    return "is no ordinary file"


def a_link_astray(path: Path) -> str:
    path.symlink_to(path.parent / "gone" / "far")
    return f"is a link to {path.parent}/gone/far, in a folder that does not exist"


IN_PLACE = (a_folder_instead, a_pipe_instead, a_link_astray)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("put", IN_PLACE, ids=lambda each: each.__name__)
async def test_file_that_cannot_be_one_is_named(
    tmp_path: Path, name: str, put: Callable[[Path], str]
) -> None:
    path = tmp_path / name
    said = f"spool.path: {path} {put(path)}; move it away"
    with pytest.raises(SpoolError, match=re.escape(said)):
        await spool_at(tmp_path).open()
    with pytest.raises(SpoolError, match=re.escape(said)):
        check_files(tmp_path)


async def test_file_that_a_link_leads_to_is_made(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "spool", tmp_path / "disk"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "worker-0.db").symlink_to(elsewhere / "events.db")
    check_files(folder)
    spool = spool_at(folder)
    await spool.open()
    await spool.close()
    assert (elsewhere / "events.db").is_file()
    check_files(folder)


@pytest.mark.parametrize(("mode", "is_refused"), [(0o600, True), (0o644, True), (0o666, False)])
def test_file_of_somebody_else_is_named_with_the_user(
    tmp_path: Path, mode: int, is_refused: bool
) -> None:
    (tmp_path / "worker-2.db").touch()
    (tmp_path / "worker-2.db").chmod(mode)
    said = as_nobody(tmp_path, lambda: check_files(tmp_path))
    path = tmp_path / "worker-2.db"
    assert (f"user 65534 may not read and write {path}; move it away" in said) is is_refused
    assert is_refused or said == ""


def test_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    folder.chmod(0o733)
    said = as_nobody(tmp_path, lambda: check_files(folder))
    assert f"spool.path: {folder} cannot be used: user 65534 may not list {folder}" in said


# The commands

CONFIG = """
[server]
port = 0
workers = {workers}
[admin]
port = 0
[spool]
path = {path}
min_free_bytes = {min_free}
[[sources]]
name = "sdk"
write_key = "key"
[[destinations]]
name = "mixpanel"
settings = {{projectToken = "token"}}
"""


def written(tmp_path: Path, path: Path, *, workers: int = 1, min_free: int = 0) -> str:
    file = tmp_path / "gateway.toml"
    text = CONFIG.format(path=json.dumps(str(path)), workers=workers, min_free=min_free)
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize(
    ("command", "workers", "code"),
    [
        (("run",), 1, 1),
        (("run",), 2, 1),
        (("check",), 1, 2),
        (("dead-letters", "list"), 1, 1),
        (("pending", "list"), 1, 1),
    ],
)
async def test_command_says_which_path_and_what_is_in_the_way(
    tmp_path: Path, command: tuple[str, ...], workers: int, code: int
) -> None:
    path, text = a_component_that_is_a_file(tmp_path)
    done = await gateway(*command, "--config", written(tmp_path, path, workers=workers))
    assert done.code == code, done
    assert f"spool.path: {path} cannot be used: " in done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["worker-0.db", "worker-1.db", "worker-0.ledger"])
async def test_check_says_of_a_file_what_a_start_would_say(tmp_path: Path, name: str) -> None:
    path = tmp_path / "spool" / name
    path.mkdir(parents=True)
    said = f"spool.path: {path} is a folder and no file; move it away or let this user have it"
    config = written(tmp_path, tmp_path / "spool")
    for command, code in (("check", 2), ("run", 1)):
        done = await gateway(command, "--config", config)
        assert (done.code, said in done.stderr) == (code, True), done


async def test_check_tells_of_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    too_much = 2**60
    config = written(tmp_path, tmp_path / "spool", min_free=too_much)
    done = await gateway("check", "--config", config)
    assert done.code == 0
    free = re.search(rf"(\d+) bytes free, {too_much} have to stay so", done.stderr)
    assert free, done
    assert abs(int(free[1]) - shutil.disk_usage(tmp_path).free) < 2**33
    assert "make room" in done.stderr
    assert not (tmp_path / "spool").exists()
    well = await gateway("check", "--config", written(tmp_path, tmp_path / "spool"))
    assert "bytes free" not in well.stderr
