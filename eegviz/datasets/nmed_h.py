"""NMED-H: 48 adults hear Hindi pop songs, intact or scrambled, twice.

Source: Kaneshiro et al. (2016), "Naturalistic Music EEG Dataset - Hindi", Stanford Digital Repository,
https://purl.stanford.edu/sd922db3535, CC BY.

Files: ``songNN_{a,b}_Imputed.mat`` with ``dataNN_a`` (125, time, 12), ``subsNN_a`` and ``fs``. ``a`` and ``b`` are two
hearings (``repeat`` 1 and 2, kept as ``session`` too). Numbers 21–24 are the original songs; 25–28 reversed, 29–32
phase-scrambled and 33–36 measure-shuffled, of song ``(NN - 21) mod 4``: its number is the stimulus' ``piece``, so that no
split calls a song unseen of which another version is in training. Values are taken as µV.

The sound is not distributed: name yours ``song21.wav`` …; each scrambled version needs its own file. One public reader
trims the four songs at 44.1 kHz to samples 23814, 43394, 3528 and 15579 as their beginning: an ``offsets`` table with
.54, .984, .08 and .3533 s does the same.
"""

from functools import partial
from sys import modules

from eegviz.datasets import _audio, _common, _nmed

NAME = "nmed-h"
TITLE = "Naturalistic Music EEG Dataset - Hindi (NMED-H)"
LICENCE = "CC BY"
CITATION = (
    "Kaneshiro, B., Nguyen, D. T., Dmochowski, J. P., Norcia, A. M., Berger, J. (2016). Naturalistic Music EEG "
    "Dataset - Hindi (NMED-H). Stanford Digital Repository. https://purl.stanford.edu/sd922db3535"
)
WHERE = "https://purl.stanford.edu/sd922db3535"
TITLES = ("Ainvayi Ainvayi", "Daaru Desi", "Haule Haule", "Malang")
VERSIONS = {"orig": "original", "rev": "reversed", "phase": "phase-scrambled", "meas": "measure-shuffled"}


def song(number):
    """Return the song of a number from 21 to 36.

    Examples
    --------
    >>> song(26).title, song(26).columns
    ('Daaru Desi (reversed)', {'version': 'rev', 'piece': 'song22'})
    """
    version, base = list(VERSIONS)[(number - 21) // 4], (number - 21) % 4
    title = TITLES[base] if version == "orig" else f"{TITLES[base]} ({VERSIONS[version]})"
    names = (f"song{number}", str(number), title)
    return _nmed.Song(f"song{number}", title, names, {"version": version, "piece": f"song{21 + base}"})


SONGS = {number: song(number) for number in range(21, 37)}


def ingest(
    source, store_path, *, audio=None, unit="uV", max_mismatch=_audio.MAX_MISMATCH, offsets=None, overwrite=False
):
    """Read NMED-H into a store.

    Parameters
    ----------
    source : str or Path
        Folder of the ``songNN_{a,b}_Imputed.mat``, at any depth.
    store_path : str or Path
    audio : str or Path, optional
        Folder of the sounds; ``source`` when not given.
    unit : {"uV", "V", "mV", "nV"}
    max_mismatch : float
        Seconds by which EEG and sound may differ in length.
    offsets : str, Path or dict, optional
        CSV ``stimulus,offset``: seconds to cut from the beginning of a sound.
    overwrite : bool

    Returns
    -------
    eegviz.datasets.IngestReport

    Raises
    ------
    DataError
        When nothing could be read.
    """
    source, settings, identity = _nmed.open_source(
        source,
        audio=audio,
        unit=unit,
        max_mismatch=max_mismatch,
        offsets=offsets,
        known=[item.stimulus for item in SONGS.values()],
        where_to_get=WHERE,
    )
    files, doubles = _nmed.find_files(source, r"song(\d+)_([ab])_Imputed\.mat")
    if not files:
        raise _nmed.nothing_found(source, "files named songNN_a_Imputed.mat (21 to 36, a and b)", WHERE)
    jobs = [partial(_nmed.complain, line) for line in doubles]
    simulated = _common.is_simulated(source if source.is_dir() else source.parent)
    songs = _nmed.stand_ins(SONGS) if simulated else SONGS
    for path, match in files:
        number, hearing = int(match[1]), match[2].lower()
        if number not in songs:
            jobs.append(
                partial(
                    _nmed.complain,
                    f"{path}: expected a song number from 21 to 36, found {number}; rename the file, or read it with own",
                )
            )
            continue
        file = _nmed.SongFile(
            path,
            songs[number],
            data_key=f"data{number}_{hearing}",
            subs_key=f"subs{number}_{hearing}",
            repeat="ab".index(hearing) + 1,
            session=hearing,
        )
        jobs.append(partial(_nmed.ingest_file, file, settings))
    return _common.run(
        store_path,
        jobs,
        module=modules[__name__],
        montage=_nmed.MONTAGE,
        identity=identity,
        overwrite=overwrite,
        simulated=simulated,
    )
