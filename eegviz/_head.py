"""Forward model of the simulated listeners: a sphere head, auditory cortices, and the electrodes of NMED.

`eegviz.simulate` uses it; `head` makes it with MNE-Python once a process. Metres, MNE's head coordinates.
"""

import functools
import zlib
from dataclasses import dataclass

import numpy as np

from eegviz.errors import ParameterError

MONTAGE = "GSN-HydroCel-129"
NMED_CHANNELS = (*(f"E{number}" for number in range(1, 125)), "Cz")  # the 125 rows of NMED-T and NMED-H
SFREQ = 125.0  # Hz, as in NMED
N_BANDS = 6


@dataclass(frozen=True, eq=False)
class Head:
    """Forward model: scalp patterns (n_channels, n_sources), average reference, each column with a peak of 1.

    ``auditory`` has 12 columns: six bands from low to high of the left cortex, then of the right; ``positions``
    (12, 3) are theirs, in metres (MNE's head coordinates: x right, y front, z up).
    """

    ch_names: tuple[str, ...]
    auditory: np.ndarray
    background: np.ndarray
    occipital: np.ndarray
    positions: np.ndarray


@functools.lru_cache(maxsize=4)
def head(ch_names: tuple[str, ...] = NMED_CHANNELS, *, montage: str = MONTAGE) -> Head:
    """Make the forward model: MNE's four-layer sphere, dipoles in both auditory cortices, occipital and everywhere.

    Parameters
    ----------
    ch_names : tuple of str
        Channels of the montage; the 125 of NMED by default.
    montage : str
        A name that `mne.channels.make_standard_montage` knows.

    Returns
    -------
    head : Head

    Raises
    ------
    ParameterError
        When fewer than two channels are asked for, or the montage does not have them.

    Notes
    -----
    `mne.make_sphere_model`, `mne.setup_volume_source_space` with discrete positions,
    `mne.make_forward_solution`; the free orientations are projected on each source's own normal. The six bands
    lie along Heschl's gyrus from lateral (low) to medial (high) and point up and forward, fanned by ±35°.
    """
    import mne

    layout = mne.channels.make_standard_montage(montage)
    missing = sorted(set(ch_names) - set(layout.ch_names))
    if missing or len(ch_names) < 2:
        raise ParameterError(
            f"simulate.head: expected two or more channels of {montage}, found {len(ch_names)}, unknown: {missing[:5]}"
        )
    info = mne.create_info(list(ch_names), SFREQ, "eeg").set_montage(layout)
    electrodes = np.array([channel["loc"][:3] for channel in info["chs"]])
    everywhere = mne.create_info(layout.ch_names, SFREQ, "eeg").set_montage(layout)
    centre, radius = _fit_sphere(np.array([channel["loc"][:3] for channel in everywhere["chs"]]))
    sphere = mne.make_sphere_model(r0=centre, head_radius=radius, verbose="error")

    auditory = _auditory_sources(radius)
    rng = np.random.default_rng(zlib.crc32(b"head"))  # the anatomy is the same for every seed
    depth = radius * rng.uniform(0.45, 0.85, 80)[:, None]
    direction = rng.normal(size=(80, 3)) * (1, 1, 0.8) + (0, 0, 0.4)
    background = depth * direction / np.linalg.norm(direction, axis=1, keepdims=True), _unit(rng.normal(size=(80, 3)))
    angle, height = np.linspace(-0.6, 0.6, 6), np.array([0.1, 0.35, 0.15, 0.4, 0.3, 0.05])
    outward = _unit(np.stack([np.sin(angle), -np.cos(angle), height], axis=1))
    occipital = 0.78 * radius * outward, _unit(outward + 0.4 * rng.normal(size=(6, 3)))
    places = np.concatenate([group[0] for group in (auditory, background, occipital)]) + centre
    normals = np.concatenate([group[1] for group in (auditory, background, occipital)])

    space = mne.setup_volume_source_space(
        pos={"rr": places, "nn": normals}, sphere=sphere, sphere_units="m", verbose="error"
    )
    forward = mne.make_forward_solution(
        info, trans=None, src=space, bem=sphere, meg=False, eeg=True, mindist=0.0, verbose="error"
    )
    gain = forward["sol"]["data"].reshape(len(electrodes), -1, 3)  # channel × source × direction
    if gain.shape[1] != len(places):
        raise ParameterError(
            f"simulate.head: {gain.shape[1]} of {len(places)} sources lie inside the head of {montage}"
        )
    patterns = np.einsum("csd,sd->cs", gain, normals)
    patterns -= patterns.mean(axis=0)
    patterns = (patterns / np.abs(patterns).max(axis=0)).astype(np.float32)
    n = 2 * N_BANDS
    return Head(tuple(ch_names), patterns[:, :n], patterns[:, n:-6], patterns[:, -6:], places[:n])


def _auditory_sources(radius):
    """Positions relative to the centre and normals, (12, 3) each: left low to high, then right."""
    share = np.linspace(0, 1, N_BANDS)[:, None]
    lateral, medial = np.array([0.62, 0.10, 0.16]), np.array([0.40, -0.14, 0.22])
    right = radius * (lateral + share * (medial - lateral))
    tilt = np.deg2rad(30 + np.linspace(-35, 35, N_BANDS))  # from straight up towards the front
    normals = np.stack([0.15 * np.ones(N_BANDS), np.sin(tilt), np.cos(tilt)], axis=1)
    mirror = np.array([-1.0, 1.0, 1.0])
    return np.concatenate([right * mirror, right]), _unit(np.concatenate([normals * mirror, normals]))


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _fit_sphere(points):
    """Centre (3,) and radius of the sphere with least squared error: |x|² = 2 x·c + r² − |c|²."""
    system = np.column_stack([2 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(system, np.square(points).sum(axis=1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))
