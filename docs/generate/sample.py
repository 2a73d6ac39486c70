"""Build the embedded sample of fusekit: three registered 256×256 pictures of one axial head slice.

Run ``python docs/generate/sample.py [FOLDER]``; the result is deterministic. It needs numpy, Pillow, nibabel, scipy and
the ICBM152 template that the nilearn wheel ships, and it downloads nothing.

* ``mri.png`` (grey, 8 bit) is the T1-weighted template itself, resampled and windowed.
* ``ct.png`` (grey, 8 bit) is SIMULATED: tissue maps give the brain, a distance map around the brain gives skull and
  scalp, and the attenuation (Hounsfield units, HU) is shown through a combined brain and bone window.
* ``pet.png`` (RGB, 8 bit) is SIMULATED: an FDG-like uptake from the tissue maps, blurred, in a hot-iron palette.

Arrays called ``x``, ``y`` and ``depth`` hold millimetres and have the shape (256, 256) of the pictures. Rows run from
anterior to posterior and columns from the patient's right to the left, as radiologists view an axial slice.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterable
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from scipy import ndimage

SIZE = 256  # pixels per side
PITCH = 0.89  # mm per pixel
CENTRE = (0.0, -17.0, 10.0)  # template millimetres (right, anterior, superior) of the centre of the picture
SEED = 152
FWHM = 6.0  # mm, of the simulated PET scanner
SIGMA_PER_FWHM = 1.0 / np.sqrt(8.0 * np.log(2.0))
DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / "fusekit" / "images" / "samples" / "data"

# Ellipses (x, y, half width, half height, in mm) of grey matter that lies deep in the brain, thalamus and lentiform
# nucleus, and that the template's probability maps count in part as white matter.
DEEP_GREY = tuple((side * x, *rest) for side in (-1, 1) for x, *rest in ((11, -18, 9, 12), (26, 1, 6, 14)))
# Ellipses of the physiological calcifications of an adult head, pineal gland and choroid plexus, and their HU.
CALCIFIED = (((0.0, -29.0, 2.2, 1.8), 420.0), ((22.5, -42.0, 1.5, 2.5), 260.0), ((-21.5, -41.5, 1.9, 2.1), 320.0))


def template(kind: str) -> nibabel.Nifti1Image:
    """Return the template volume ``kind`` ("t1", "gm" or "wm"; 197×233×189 voxels of 1 mm, 0 to 255)."""
    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise SystemExit("sample.py: nilearn is not installed; it ships the template (pip install nilearn)")
    name = f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    path = Path(spec.origin).parent / "datasets" / "data" / name
    if not path.is_file():
        raise SystemExit(f"sample.py: this nilearn ships no {name}; install nilearn 0.11 or newer")
    volume = nibabel.load(path)
    assert isinstance(volume, nibabel.Nifti1Image)
    return volume


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Return the template coordinates ``x`` (to the right) and ``y`` (to the front) of every pixel, in mm."""
    steps = (np.arange(SIZE) - (SIZE - 1) / 2) * PITCH
    x, y = np.meshgrid(CENTRE[0] - steps, CENTRE[1] - steps)
    return x, y


def resample(kind: str, blur: float = 0.0) -> np.ndarray:
    """Return the slice of the template volume ``kind`` on the picture grid, 0 to 1; ``blur`` is a 3-D FWHM in mm."""
    image = template(kind)
    volume = np.asarray(image.dataobj, dtype=np.float64) / 255.0
    if blur:
        volume = ndimage.gaussian_filter(volume, blur * SIGMA_PER_FWHM)
    x, y = grid()
    points = np.stack([x, y, np.full_like(x, CENTRE[2]), np.ones_like(x)])
    voxels = np.tensordot(np.linalg.inv(image.affine), points, axes=1)[:3]
    level = round(float(voxels[2, 0, 0]))
    return np.clip(ndimage.map_coordinates(volume[:, :, level], voxels[:2], order=3), 0.0, 1.0)


def soft_step(distance: np.ndarray, width: float = 0.5) -> np.ndarray:
    """Return 0 to 1 across ``distance`` = 0 (mm), smoothed over ``width`` (mm) as a partial volume is."""
    return 0.5 + 0.5 * np.tanh(distance / width)


def ellipses(shapes: Iterable[tuple[float, ...]], width: float = 0.4) -> np.ndarray:
    """Return the soft union, 0 to 1, of ellipses (x, y, half width, half height, in mm)."""
    x, y = grid()
    union = np.zeros_like(x)
    for cx, cy, rx, ry in shapes:
        radius = np.hypot((x - cx) / rx, (y - cy) / ry)
        union = np.maximum(union, soft_step((1.0 - radius) * min(rx, ry), width))
    return union


def outward_depth(brain: np.ndarray) -> np.ndarray:
    """Return the signed distance in mm from the smooth envelope of the mask ``brain``, positive outside."""
    reach = 80  # pixels: grown by this much and shrunk again, the mask closes its fissures
    padded = np.pad(brain, 2 * reach)
    grown = ndimage.distance_transform_edt(~padded) <= reach
    envelope = ndimage.distance_transform_edt(grown) > reach
    signed = ndimage.distance_transform_edt(~envelope) - ndimage.distance_transform_edt(envelope)
    smooth = ndimage.gaussian_filter(signed * PITCH, 7.0)
    return smooth[2 * reach : -2 * reach, 2 * reach : -2 * reach]


def bump(angle: np.ndarray, at: float | np.ndarray, width: float) -> np.ndarray:
    """Return a bell of height 1 around the angle ``at``; all angles in degrees."""
    difference = (angle - at + 180.0) % 360.0 - 180.0
    return np.exp(-0.5 * (difference / width) ** 2)


def skull(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the inner edge, the thickness and the openness of sutures (0 to 1) of the skull around every pixel.

    Edge and thickness are in mm along ``depth``; the bone is thickest at the midline, in front and behind, where it
    also has its inner crests, and thinnest at the temples.
    """
    x, y = grid()
    angle = np.degrees(np.arctan2(x, y - CENTRE[1]))  # 0 in front, 90 at the patient's right, ±180 behind
    front, back = bump(angle, 0.0, 24.0), bump(angle, 180.0, 28.0)
    crest = 2.6 * bump(angle, 0.0, 2.6) + 3.6 * bump(angle, 180.0, 5.0)
    ripple = 0.25 * np.sin(np.radians(5.0 * angle + 40.0)) + 0.2 * np.sin(np.radians(9.0 * angle))
    inner = 2.8 - crest
    thickness = 5.4 + 1.8 * front + 2.2 * back + ripple + crest
    wave = 1.2 * np.sin(depth * 2.6)  # sutures interlock
    seams = (bump(angle, at + wave, 0.75) for at in (-50.0, 51.0, -146.0, 145.0))
    return inner, thickness, np.max(np.stack(list(seams)), axis=0)


def texture(shape: tuple[int, ...], blur: float, random: np.random.RandomState) -> np.ndarray:
    """Return Gaussian noise of mean 0 and deviation 1, correlated over a FWHM of ``blur`` mm."""
    noise = ndimage.gaussian_filter(random.standard_normal(shape), blur / PITCH * SIGMA_PER_FWHM)
    return noise / noise.std()


def lay(below: np.ndarray, value: np.ndarray | float, share: np.ndarray) -> np.ndarray:
    """Return ``below`` with ``value`` laid over it by ``share``, 0 to 1."""
    return below * (1.0 - share) + value * share


def ct_attenuation(grey: np.ndarray, white: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Return the simulated attenuation in HU from the shares of grey and white matter, 0 to 1."""
    x, y = grid()
    depth = outward_depth(grey + white > 0.5)
    inner, thickness, seams = skull(depth)
    outer = inner + thickness
    temple = bump(np.degrees(np.arctan2(np.abs(x), y - CENTRE[1])), 62.0, 17.0)
    skin = outer + 4.2 + 4.5 * temple

    hu = np.full_like(depth, -1000.0)
    hu = lay(hu, 45.0, soft_step(skin - depth))
    fat = soft_step(depth - outer - 5.0 * temple, 0.8) * soft_step(skin - 2.0 - depth, 0.6)
    hu = lay(hu, -75.0, fat)
    diploe = soft_step(depth - inner - 1.6) * soft_step(outer - 1.7 - depth)
    bone = lay(np.full_like(depth, 1250.0), 380.0 + 110.0 * texture(depth.shape, 2.2, random), diploe)
    bone = lay(bone, 120.0, seams)
    hu = lay(hu, bone, soft_step(outer - depth))
    fluid = np.clip(1.0 - grey - white, 0.0, 1.0)
    hu = lay(hu, 42.0 * grey + 31.0 * white + 4.0 * fluid, soft_step(inner - depth))

    behind_or_before = soft_step(np.abs(y - CENTRE[1]) - 52.0, 2.0)
    falx = np.exp(-0.5 * (x / 0.8) ** 2) * behind_or_before * soft_step(inner - depth)
    hu = lay(hu, 62.0, 0.9 * falx)
    for shape, value in CALCIFIED:
        hu = lay(hu, value, ellipses([shape]))
    hu = ndimage.gaussian_filter(hu, 0.45)
    return hu + np.where(hu > -500.0, 2.2, 6.0) * texture(hu.shape, 1.4, random)


def ct_window(hu: np.ndarray) -> np.ndarray:
    """Return grey values, 0 to 255, of HU: a brain window up to 80 HU and a bone window above it."""
    return np.interp(hu, [-300.0, -100.0, 0.0, 80.0, 400.0, 1300.0], [0.0, 14.0, 30.0, 140.0, 172.0, 252.0])


def pet_uptake(random: np.random.RandomState) -> np.ndarray:
    """Return the simulated FDG uptake, 0 to 1: grey matter takes up four times as much as white matter."""
    grey, white = resample("gm", FWHM), resample("wm", FWHM)
    deep = ndimage.gaussian_filter(ellipses(DEEP_GREY), FWHM / PITCH * SIGMA_PER_FWHM)
    moved = 0.35 * deep * white
    uptake = 4.0 * (grey + moved) + (white - moved)
    noise = texture(uptake.shape, 4.0, random)
    uptake = uptake + 0.07 * np.sqrt(np.maximum(uptake, 0.0)) * noise
    return np.clip(uptake / 4.1, 0.0, 1.0)


def hot(value: np.ndarray) -> np.ndarray:
    """Return the hot-iron colours (…, 3) of ``value``, all 0 to 1: black, red, orange, yellow, white."""
    red, green, blue = value / 0.37, (value - 0.37) / 0.38, (value - 0.75) / 0.25
    return np.clip(np.stack([red, green, blue], axis=-1), 0.0, 1.0)


def mri_window(signal: np.ndarray) -> np.ndarray:
    """Return grey values, 0 to 255, of the template's T1 ``signal``, 0 to 1; nothing stays nothing."""
    return np.interp(signal, [0.0, 0.05, 0.30, 0.93], [0.0, 0.0, 18.0, 250.0])


def build(folder: Path) -> list[Path]:
    """Write mri.png, ct.png and pet.png into ``folder`` and return their paths."""
    # RandomState, not default_rng: numpy promises that its stream never changes.
    random = np.random.RandomState(SEED)
    pictures = {
        "mri": mri_window(resample("t1")),
        "ct": ct_window(ct_attenuation(resample("gm"), resample("wm"), random)),
        "pet": 255.0 * hot(pet_uptake(random)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, values in pictures.items():
        paths.append(folder / f"{name}.png")
        Image.fromarray(np.rint(values).astype(np.uint8)).save(paths[-1], optimize=True)
    return paths


def main() -> None:
    """Read the command line and build the sample."""
    parser = argparse.ArgumentParser(description="Build the embedded sample of fusekit.")
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_FOLDER, help="where the PNG files go")
    for path in build(parser.parse_args().folder):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
