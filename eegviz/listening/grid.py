"""A grid of sounds: one row a song, one cell a listener or condition, each a player under its spectrogram.

The grid is plain HTML with the sounds (OGG) and pictures (PNG) inside, or by address: it plays offline, in a report,
in the app, and as bare players in a notebook that nobody trusted. One script and one style sheet of its own
(`grid.js` and what stands beside it) put a cursor on all pictures of a row, change clips at the same place, loop, filter
and sort. Every text is escaped. Levels are matched to the original of the row, because the louder of two sounds is taken
for the better one; the gain stands under each player, and the script can take it back.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np

from eegviz import features, inversion
from eegviz._drawing import SPECTRUM_COLOURS
from eegviz.errors import ParameterError
from eegviz.listening import markup


@dataclass(frozen=True)
class Clip:
    """One cell of a grid: a sound, its picture, and what to say, filter and sort by.

    Attributes
    ----------
    title : str
        What the player is called.
    ogg, png : bytes
        The sound (OGG) and its spectrogram (PNG).
    alt : str
        What the picture shows, in words and numbers.
    note : str
        A line below the player.
    song, listener, condition : str
        Empty where it has none; the original of a row has no listener and no condition, and no filter hides it.
    score, chance : float, optional
        How well it fits its song, and what guessing gives.
    score_name : str
        Of the score, such as "retrieval".
    gain_db : float
        What matching the level has added, in dB; 0 where it was left alone.
    seconds : float
        Length of the sound; 0 where it is not known before it is decoded.
    bins : str
        What the vertical axis of the picture is; empty where it is not known.
    """

    title: str
    ogg: bytes = field(repr=False)
    png: bytes = field(repr=False)
    alt: str
    note: str = ""
    song: str = ""
    listener: str = ""
    condition: str = ""
    score: float | None = None
    chance: float | None = None
    score_name: str = ""
    gain_db: float = 0.0
    seconds: float = 0.0
    bins: str = ""


@dataclass(frozen=True)
class Grid:
    """Rows of clips, each cell named by its column; Jupyter, the reports and the app show it as HTML.

    Attributes
    ----------
    columns : sequence of str
        What each cell of a row is, such as a listener; it stands under the picture.
    rows : sequence of (str, sequence of Clip or None)
        A row's label and its clips; None leaves a cell out.
    caption : str
        What is compared, on which data, with how many listeners.
    """

    columns: tuple
    rows: tuple
    caption: str

    def __post_init__(self):
        for label, clips in self.rows:
            if len(clips) != len(self.columns):
                raise ParameterError(
                    f"row {label!r} of the grid has {len(clips)} clips for {len(self.columns)} columns; "
                    "give None where a cell is left out."
                )

    def html(self, media=None, *, assets=True):
        """The grid as HTML.

        Parameters
        ----------
        media : callable, optional
            ``media(data, mime, name) -> address`` is called for each sound and picture, whose names are unlike each other;
            default: they are embedded.
        assets : bool
            Put script and style sheet in front; a page that holds them already (`assets`) can leave them out. Twice does
            no harm: the script runs once.

        Returns
        -------
        str
        """
        return (markup.assets() if assets else "") + markup.grid(self, media or markup.embedded, lazy=media is not None)

    @staticmethod
    def assets():
        """Style sheet and script of all grids of a page, as markup."""
        return markup.assets()

    def _repr_html_(self):
        return self.html()


def clip(
    title,
    sound,
    sr,
    pictures,
    *,
    reference=None,
    note="",
    clim=(0, 1),
    song="",
    listener="",
    condition="",
    score=None,
    chance=None,
    score_name="",
):
    """Make a `Clip` of a sound and its spectrogram.

    Parameters
    ----------
    title : str
    sound : np.ndarray [shape=(n_samples,)]
    sr : int
        Hertz.
    pictures : np.ndarray [shape=(n_frames, n_bins) or (n, n_frames, n_bins)]
        Normalised spectrogram, joined in time.
    reference : np.ndarray, optional
        Sound whose level this one is matched to; the clip says by how many dB.
    note : str
        A line below the player.
    clim : (float, float)
        Levels that are black and white.
    song, listener, condition, score, chance, score_name
        See `Clip`.
    """
    gain = 0.0
    if reference is not None:
        matched = inversion.match_loudness(sound, reference)
        gain = float(20 * np.log10(max(np.abs(matched).max(), 1e-9) / max(np.abs(sound).max(), 1e-9)))
        sound = matched
    pictures = np.asarray(pictures)
    joined = pictures.reshape(-1, pictures.shape[-1])
    seconds = len(sound) / sr
    alt = (
        f"Spectrogram of {title}: {seconds:.0f} s, {joined.shape[1]} bins, mean level {joined.mean():.2f}, "
        f"standard deviation {joined.std():.2f} on the scale 0 to 1"
    )
    return Clip(
        title, inversion.encode_sound(sound, sr), spectrogram_png(joined, clim), alt, note, song=song, listener=listener,
        condition=condition, score=score, chance=chance, score_name=score_name, gain_db=gain, seconds=seconds,
        bins=bins_text(joined.shape[1]),
    )  # fmt: skip


def bins_text(n):
    """What `n` bins of a spectrogram are, from the kind that has so many; empty where none has.

    >>> bins_text(128), bins_text(80), bins_text(3)
    ('128 mel bins from 0 to 11 kHz', '80 mel bins from 0 to 8 kHz', '')
    """
    for found in features.LAYOUTS.values():
        if found.n_bins == n:
            top = (found.fmax or features.SR / 2) / 1000
            return f"{n} {'mel bins' if found.n_mels else 'bins of equal width'} from 0 to {top:.0f} kHz"
    return ""


def spectrogram_png(joined, clim=(0, 1)):
    """A spectrogram ``(n_frames, n_bins)`` as a PNG without axes, low bins at the bottom."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, np.clip(joined.T[::-1], *clim), cmap=SPECTRUM_COLOURS, vmin=clim[0], vmax=clim[1], format="png")
    return buffer.getvalue()
