"""Formats of plugins: found by content and by extension, and blamed by name where they fail."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.cli import texture, write_texture

import fusekit
from fusekit.cases.folders import images_in
from fusekit.cases.patterns import stem_of
from fusekit.errors import FusekitWarning, InputError, OutputError, PluginError
from fusekit.extend import Format, Grid, Image, Origin, from_pixels
from fusekit.images.files import check_format, read_image, write_image
from fusekit.registry.discovery import registries
from fusekit.registry.registry import Entry

MAGIC = b"TOY1"
Add = Callable[..., None]


def rows(matrix: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


class Toy(Format):
    """Values behind a header of JSON, that knows its spacing."""

    axes = (2, 3)
    colors = False

    def sniff(self, path: Path, start: bytes) -> bool:
        return start.startswith(MAGIC)

    def read(self, path: Path) -> Image:
        whole = path.read_bytes()
        head, _, data = whole[len(MAGIC) :].partition(b"\n")
        header = json.loads(head)
        if "depth" not in header:
            raise InputError(f"{path} has no depth; write it again")
        grid = Grid(header["shape"], header["spacing"], header["affine"], header["axes"])
        pixels = np.frombuffer(data, header["depth"]).reshape(grid.shape)
        return from_pixels(
            pixels, color=False, grid=grid, origin=Origin((path,), sha256(whole).hexdigest(), "toy", header)
        )

    def depths(self, extension: str) -> tuple[str, ...]:
        return ("uint8", "uint16")

    def encode(self, image: Image, extension: str) -> bytes:
        kept = dict(image.origin.header or {}) if image.origin is not None else {}
        grid = {
            "shape": image.size,
            "spacing": image.grid.spacing,
            "affine": image.grid.affine,
            "axes": image.grid.axes,
        }
        return MAGIC + json.dumps({**kept, **grid, "depth": image.depth}).encode() + b"\n" + image.pixels.tobytes()


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Iterator[Add]:
    """Return a function that registers a format as the plugin ``toys`` would."""
    formats = registries().formats
    before = formats.snapshot()
    module = types.ModuleType("module_of_toy_formats")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def add(name: str, made: Any, extensions: Any = (".toy", ".toy.gz")) -> None:
        setattr(module, name, made)
        formats.add(Entry(name, f"{module.__name__}:{name}", "", "toys", "", {"extensions": extensions}))

    yield add
    formats.restore(before)


def toy(path: Path, seed: int = 1, **header: Any) -> Path:
    grid = Grid((24, 20), (0.5, 0.25), rows(np.diag([0.5, 0.25, 1.0, 1.0])))
    image = from_pixels(texture(seed), color=False, grid=grid, origin=Origin((), "", "toy", header))
    path.write_bytes(Toy().encode(image, ".toy"))
    return path


def test_place_and_header_go_out_as_they_came_in(tmp_path: Path, add: Add) -> None:
    add("toy", Toy)
    sources = [toy(tmp_path / "a.bin", 1, patient="A"), toy(tmp_path / "b.toy", 2, patient="B")]
    fusekit.fuse(sources, "ehdran", rule="mean").save(tmp_path / "fused.toy.gz")
    fused, first = read_image(tmp_path / "fused.toy.gz"), read_image(sources[0])
    assert fused.grid == first.grid
    assert fused.origin is not None
    assert fused.origin.header is not None
    assert fused.origin.header["patient"] == "A"
    record = json.loads((tmp_path / "fused.toy.gz.json").read_text())
    assert len(record["output"].pop("sha256")) == 64
    assert record["output"] == {"size": [24, 20], "channels": 1, "depth": "uint8", "range": [0.0, 255.0]}
    assert [each["path"] for each in record["sources"]] == [str(path) for path in sources]


def test_a_volume_is_read_and_kept_from_models_and_formats_of_pictures(tmp_path: Path, add: Add) -> None:
    add("toy", Toy)
    grid = Grid((5, 6, 3), (1.0, 1.0, 4.0), rows(np.diag([1.0, 1.0, 4.0, 1.0])), ("x", "y", "z"))
    volume = from_pixels(np.arange(90, dtype=np.uint8).reshape(5, 6, 3), color=False, grid=grid)
    write_image(tmp_path / "volume.toy", volume)
    found = read_image(tmp_path / "volume.toy")
    assert (found.color, found.grid) == (False, grid)
    np.testing.assert_array_equal(found.pixels, volume.pixels)
    with pytest.raises(OutputError, match=r"\.png files hold images of 2 axes, and this one has 3"):
        write_image(tmp_path / "volume.png", found)
    write_image(tmp_path / "other.toy", from_pixels(volume.pixels[::-1], color=False, grid=grid))
    with pytest.raises(InputError, match=r"has 3 spatial axes \(x, y, z\), and the model 'ehdran' fuses images of 2"):
        fusekit.fuse([tmp_path / "volume.toy", tmp_path / "other.toy"], "ehdran", rule="mean")


def test_what_a_format_does_not_hold_is_refused_before(add: Add) -> None:
    add("toy", Toy)
    check_format(Path("x.toy"), "uint16", False, 3)
    with pytest.raises(OutputError, match=r"do not hold float32 images"):
        check_format(Path("x.toy"), "float32")
    with pytest.raises(OutputError, match=r"\.toy files do not hold colour"):
        check_format(Path("x.toy"), "uint8", True)
    with pytest.raises(OutputError, match=r"name the output \.png, .*\.bmp, \.toy or \.toy\.gz$"):
        check_format(Path("x.unknown"))


def test_folders_hold_the_registered_extensions(tmp_path: Path, add: Add) -> None:
    add("toy", Toy)
    for name in ("a.toy.gz", "b.TOY", "c.txt", ".d.toy"):
        (tmp_path / name).touch()
    assert list(images_in(tmp_path)) == ["a", "b"]
    assert (stem_of("a.toy.gz"), stem_of("a.b"), stem_of("1.png")) == ("a", "a.b", "1")


def test_pictures_import_no_format_of_a_plugin(tmp_path: Path, add: Add) -> None:
    registries().formats.add(Entry("absent", "no_such_module:Format", "", "toys", "", {"extensions": (".absent",)}))
    path = write_texture(tmp_path / "a.absent.png", 1)
    assert read_image(path).size == (24, 20)
    assert path.rename(tmp_path / "a.absent")
    assert read_image(tmp_path / "a.absent").size == (24, 20)


def test_a_broken_format_is_named_and_the_others_go_on(tmp_path: Path, add: Add) -> None:
    registries().formats.add(Entry("absent", "no_such_module:Format", "", "toys", "", {"extensions": (".absent",)}))
    add("toy", Toy)
    with pytest.warns(FusekitWarning, match="the format 'absent' of toys cannot be imported"):
        assert read_image(toy(tmp_path / "a.bin")).size == (24, 20)
    (tmp_path / "b.absent").write_bytes(b"nothing known")
    with pytest.raises(PluginError, match="the format 'absent' of toys cannot be imported"):
        read_image(tmp_path / "b.absent")
    (tmp_path / "c.bin").write_bytes(b"nothing known")
    with (
        pytest.warns(FusekitWarning, match="'absent' of toys"),
        pytest.raises(InputError, match=r"\(PNG, TIFF, JPEG, BMP, absent, toy\); check the file"),
    ):
        read_image(tmp_path / "c.bin")


def test_what_a_format_refuses_itself_is_passed_on(tmp_path: Path, add: Add) -> None:
    add("toy", Toy)
    (tmp_path / "a.toy").write_bytes(MAGIC + b"{}\n")
    with pytest.raises(InputError, match=r"a\.toy has no depth"):
        read_image(tmp_path / "a.toy")
    (tmp_path / "a.toy").write_bytes(MAGIC + b"{\n")
    with pytest.raises(PluginError, match=r"the format 'toy' of toys cannot read .*a\.toy: JSONDecodeError"):
        read_image(tmp_path / "a.toy")


PIXELS, GRID = np.zeros((4, 5), np.float32), Grid((4, 5))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (PIXELS, "as ndarray; read returns a fusekit.extend.Image"),
        (Image(PIXELS.astype(np.int32), False, GRID, Origin((Path("a"),))), "values of type int32"),
        (Image(PIXELS, False, GRID), "no origin"),
        (Image(PIXELS[:1], False, Grid((1, 5)), Origin((Path("a"),))), r"the size \(1, 5\)"),
    ],
)
def test_what_is_no_image_is_the_formats_fault(tmp_path: Path, add: Add, given: object, message: str) -> None:
    add("odd", type("Odd", (Toy,), {"read": lambda self, path: given}))
    with pytest.raises(PluginError, match=f"the format 'odd' of toys reads .*{message}"):
        read_image(toy(tmp_path / "a.toy"))


class Pages(Toy):
    """Images one behind the other, of which only the header is read to know them."""

    def sniff(self, path: Path, start: bytes) -> bool:
        return start.startswith(b"TOYS")

    def parts(self, path: Path) -> list[bytes]:
        return path.read_bytes().split(b"TOYS")[1:]

    def pages(self, path: Path) -> int:
        return len(self.parts(path))

    def shape_of(self, path: Path, page: int = 1) -> tuple[int, ...]:
        header = json.loads(self.parts(path)[page - 1][len(MAGIC) :].partition(b"\n")[0])
        return (*header["shape"], 1)

    def read(self, path: Path) -> Image:
        return self.read_page(path, 1)

    def read_page(self, path: Path, page: int) -> Image:
        if "unread" in path.name:
            raise AssertionError("read though it is too large")
        part = path.with_name("part.toy")
        part.write_bytes(self.parts(path)[page - 1])
        return super().read(part)


def test_pages_and_sizes_of_a_plugins_format(tmp_path: Path, add: Add) -> None:
    add("pages", Pages, (".toys",))
    parts = [toy(tmp_path / "one.toy", seed).read_bytes() for seed in (1, 2, 3)]
    path = tmp_path / "several.toys"
    path.write_bytes(b"".join(b"TOYS" + part for part in parts))
    with pytest.raises(InputError, match=r"several\.toys holds 3 pages; choose one by --page N \(1 to 3\)"):
        read_image(path)
    image = read_image(path, page=2)
    np.testing.assert_array_equal(image.pixels, texture(2))
    assert image.notes == ("page 2 of 3",)
    assert image.origin is not None
    assert image.origin.page == 2
    with pytest.raises(InputError, match=r"unread\.toys has 24×20 pixels, and no more than 479 are read"):
        read_image(path.rename(tmp_path / "unread.toys"), page=3, max_pixels=479)


def test_a_format_that_tells_no_shape_is_measured_when_it_was_read(tmp_path: Path, add: Add) -> None:
    add("toy", Toy)
    assert read_image(toy(tmp_path / "a.toy"), max_pixels=480).size == (24, 20)
    with pytest.raises(InputError, match=r"a\.toy has 24×20 pixels, and no more than 479 are read"):
        read_image(tmp_path / "a.toy", max_pixels=479)


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        ({"pages": lambda self, path: 0}, "says that .* holds 0 images; pages returns 1 or more"),
        ({"pages": lambda self, path: "2"}, "says that .* holds '2' images"),
        ({"pages": lambda self, path: 2}, r"NotImplementedError: Odd must define read_page\(path, page\)"),
        ({"shape_of": lambda self, path, page: (3,)}, r"has the shape \(3,\); give its axes and channels"),
        ({"shape_of": lambda self, path, page: (3.5, 4, 1)}, "has the shape"),
        ({"shape_of": lambda self, path, page: 1 / 0}, "ZeroDivisionError"),
    ],
)
def test_pages_and_shapes_that_are_none(tmp_path: Path, add: Add, overrides: dict[str, Any], fault: str) -> None:
    add("odd", type("Odd", (Toy,), overrides))
    with pytest.raises(PluginError, match=f"the format 'odd' of toys .*{fault}"):
        read_image(toy(tmp_path / "a.toy"), page=1)


def test_numbers_of_numpy_are_numbers(tmp_path: Path, add: Add) -> None:
    told = {
        "pages": lambda self, path: np.int64(1),
        "shape_of": lambda self, path, page: [*np.array([24, 20]), 1],
    }
    add("numbers", type("Numbers", (Toy,), told))
    assert read_image(toy(tmp_path / "a.toy")).size == (24, 20)


def test_classes_and_extensions_that_are_none(tmp_path: Path, add: Add) -> None:
    add("plain", dict)
    with pytest.raises(PluginError, match=r"'plain' of toys is no fusekit\.extend\.Format"):
        check_format(Path("a.toy"))
    add("single", Toy, ".one")
    with (
        pytest.warns(FusekitWarning, match=r"the format 'single' of toys is registered with extensions='\.one'"),
        pytest.raises(OutputError, match="name the output"),
    ):
        check_format(Path("a.one"))
    add("silent", type("Silent", (Toy,), {"encode": lambda self, image, extension: None}), (".silent",))
    with pytest.warns(FusekitWarning, match="single"), pytest.raises(PluginError, match="returns bytes"):
        write_image(tmp_path / "a.silent", from_pixels(texture(1)))
    assert not list(tmp_path.iterdir())
