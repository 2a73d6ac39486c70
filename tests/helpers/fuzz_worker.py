"""A process that gives the command line what is spoiled, one job after the other, and says what came of each.

It reads a line of JSON a job from a pipe and answers by one. Standard output and error are files, as those of a shell
may be, so that what decoders write behind Python's back is seen too.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Memory that fusing may take by its option; it is what the command line declares.
BUDGET = 256 << 20
_PAIR = ("ct.png", "mri.png")
_FUSE = ("fuse", *_PAIR, "-o", "out.png", "--model", "pixel", "--rule", "max")
_WORDS = """
    0 1 -1 1e999 nan inf ² ٢ 0x1 1_0 1,2 16 2GiB 0B auto off float from:² from:0 cuda:99 cuda:²
    a ct.png no/such/file x.safetensors list.txt#/a splits.json#/a/b ehdran ehdran. .ct-mri pixel. größe 漢字 😀
    / . .. ~ /dev/null /dev/zero /proc/self/mem hub: hub:a hub:a/b hub:a/b@ hub:../x
    - -- a=b %s%n {0.__class__} $(true) {{{{{{ null true {} [] " * ? [bold] [/bold]
"""
_LARGE = ("9" * 400, "9" * 5000, "9" * 30 + "GiB", "from:" + "9" * 400, "a" * 300, "a/" * 300, "[" * 20_000)
#: Values of options that are none, or nearly one.
VALUES = (*_WORDS.split(), *_LARGE, "", " ", "a\nb", "\\", "\x1b[31m", "\u202e", chr(0xDCFF))


def main() -> None:
    """Work off jobs until the pipe ends."""
    jobs, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.chdir(sys.argv[1])
    handles = [os.open(name, os.O_CREAT | os.O_RDWR | os.O_APPEND) for name in ("stdout", "stderr")]
    os.environ["HF_HUB_OFFLINE"] = "1"
    worker = Worker(handles)
    for line in jobs:
        print(json.dumps(worker.done(**json.loads(line))), file=answers, flush=True)


class Worker:
    """Runs the command line in this process.

    Args:
        handles: of the files that stand for standard output and error.
    """

    def __init__(self, handles: list[int]) -> None:
        from helpers.cli import write_texture

        self._handles = handles
        self._streams = [os.fdopen(number, "w", closefd=False) for number in (1, 2)]
        for seed, name in enumerate((*_PAIR, "a/1.png", "b/1.png")):
            write_texture(Path(name), seed, 18, 16)
        self._run(_FUSE)
        self._clear()

    def done(self, kind: str, seed: int, number: int) -> dict[str, Any]:
        """Do a job; return what it was, how it ended, what is wrong with that, its seconds and the memory it took."""
        chance = random.Random(f"{seed} {kind} {number}")
        make: Callable[[random.Random], tuple[str, list[str]]] = getattr(self, f"_{kind}")
        title, arguments = make(chance)
        before, started = _reset_peak(), time.perf_counter()
        code = self._run(arguments)
        seconds, peak = time.perf_counter() - started, _status("VmHWM")
        out, said = (Path(name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr"))
        wrong = self._wrong(code, out, said, arguments)
        self._clear()
        return {
            "title": title,
            "arguments": [each[:200] for each in arguments],
            "code": code if isinstance(code, int) else 1,
            "wrong": wrong,
            "said": said[-2000:],
            "seconds": seconds,
            "memory": 0 if before is None or peak is None else peak - before,
        }

    def _clear(self) -> None:
        """Take away what a job may have written."""
        for left in Path().glob("o*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    # --- jobs -------------------------------------------------------------------------------------------------------

    def _images(self, chance: random.Random) -> tuple[str, list[str]]:
        from helpers.fuzz import images, spoiled

        name = chance.choice(list(images()))
        data = spoiled(images()[name], chance, list(images().values()))
        bad = f"bad{Path(name).suffix}"
        for old in Path().glob("bad*"):
            old.unlink()
        Path(bad).write_bytes(data)
        shapes = {
            6: ["fuse", bad, "mri.png", "-o", "out.png", "--model", "pixel", "--rule", "max", "--memory", str(BUDGET)],
            2: ["fuse", "ct.png", bad, "-o", "out.tif", "--model", "laplacian-pyramid", "--align", "first", "--json"],
            1: ["evaluate", bad, "mri.png", "--fused", "ct.png", "--metrics", "mse,en"],
        }
        return name, chance.choices(list(shapes.values()), list(shapes))[0]

    def _weights(self, chance: random.Random) -> tuple[str, list[str]]:
        from helpers.fuzz import spoiled, weights

        files = {**weights(), "ehdran.safetensors": self._shipped()}
        name = chance.choice([*files, "named.safetensors", "ehdran.safetensors"])
        bad = f"bad{Path(name).suffix}"
        Path(bad).write_bytes(spoiled(files[name], chance, list(weights().values())))
        if name.endswith(".pth"):
            return name, ["weights", "convert", bad, "--model", "ehdran", "-o", "o.safetensors"]
        how = chance.choice((["--weights", bad], ["--model", f"./{bad}"], ["--weights", bad, "--edge", "sobel"]))
        return name, ["fuse", *_PAIR, "-o", "out.png", "--rule", "max", "--memory", str(BUDGET), *how]

    def _shipped(self) -> bytes:
        from fusekit.weights.resolve import find_bundled

        path = find_bundled("ehdran", "ct-mri.safetensors")
        assert path is not None
        return path.read_bytes()

    def _options(self, chance: random.Random) -> tuple[str, list[str]]:
        import click

        from fusekit.cli.main import main as group

        bases = {
            "fuse": list(_FUSE),
            "fuse --pairs": ["fuse", "--pairs", "a", "b", "-o", "out", "--model", "pixel"],
            "evaluate": ["evaluate", *_PAIR, "--fused", "ct.png", "--metrics", "mse"],
            "list": ["list"],
            "weights verify": ["weights", "verify"],
            "train": ["train", "no-such-folder", "-o", "out"],
        }
        title = chance.choice(list(bases))
        command: click.Command | None = group
        for word in title.replace(" --pairs", "").split():
            assert isinstance(command, click.Group)
            command = command.get_command(click.Context(command), word)
        assert command is not None
        options = [each for each in command.params if isinstance(each, click.Option) and "--traceback" not in each.opts]
        arguments = bases[title]
        for option in chance.choices(options, k=chance.choice((1, 1, 2))):
            value = [] if option.is_flag else [chance.choice(VALUES)]
            arguments = [*arguments, chance.choice(option.opts), *value]
        if chance.random() < 0.2:
            arguments = [*arguments, chance.choice(VALUES)]
        # What the command line itself could not be given.
        return title, [each.replace("\0", "") for each in arguments]

    # --- running ----------------------------------------------------------------------------------------------------

    def _run(self, arguments: list[str] | tuple[str, ...]) -> int | str | None:
        from fusekit.cli.main import run

        for number, handle in enumerate(self._handles, start=1):
            os.ftruncate(handle, 0)
            os.dup2(handle, number)
        sys.argv = ["fusekit", *arguments]
        sys.stdout, sys.stderr = self._streams
        try:
            run()
        except SystemExit as stop:
            return stop.code
        finally:
            for stream in self._streams:
                stream.flush()
        return None

    def _wrong(self, code: object, out: str, said: str, arguments: list[str]) -> str:
        """Return what is not as it should be, or an empty text."""
        lines = said.splitlines()
        foreign = [line for line in lines if not line.startswith("fusekit: ")]
        if "Traceback (most recent call last)" in said or code == 70:
            return "traceback or fault of its own"
        if code not in (0, 1, 2):
            return f"exit code {code}"
        if foreign and "--help" not in arguments and "-h" not in arguments:
            return f"a line that is not ours: {foreign[0][:200]}"
        errors = [line for line in lines if line.startswith("fusekit: error: ")]
        if code == 2 and errors != lines[-1:]:
            return "not one line of an error, the last"
        if code == 2 and (Path("out.png").exists() or Path("out.png.json").exists()):
            return "output of what was refused"
        if "--json" in arguments and "--" not in arguments and code in (0, 1, 2):
            try:
                json.loads(out)
            except ValueError:
                return "no JSON on standard output"
        return ""


def _reset_peak() -> int | None:
    """Look for the greatest resident memory from now on; return what is resident, ``None`` where that is not told."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _status(name: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    except (OSError, StopIteration):
        return None


if __name__ == "__main__":
    main()
