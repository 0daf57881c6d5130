"""NMED-T: 20 adults hear ten songs of 55.97 to 150 beats a minute, each once.

Source: Losorelli, Nguyen, Dmochowski, Kaneshiro (2017), "NMED-T: A Tempo-Focused Dataset of Cortical and Behavioral
Responses to Naturalistic Music", ISMIR; https://purl.stanford.edu/jn859kj8079, CC BY.

Files: ``songNN_Imputed.mat`` (21–30) with ``dataNN`` (125, time, 20), ``subsNN``, ``fs``; where present also
``PP_R_raw.mat`` (condition "raw", and "silence" for the seconds before each song, see :mod:`._nmed_t_extras`),
``behavioralRatings.mat``, ``participantInfo.mat`` and ``TapIt.mat`` (tables). Values are taken as µV.

The sound is not distributed: name yours ``song21.wav``, ``21.flac``, ``First Fires.mp3`` or
``First Fires - Bonobo.ogg``.
"""

from functools import partial
from sys import modules

from eegviz.datasets import _audio, _common, _nmed, _nmed_t_extras

NAME = "nmed-t"
TITLE = "Naturalistic Music EEG Dataset - Tempo (NMED-T)"
LICENCE = "CC BY"
CITATION = (
    "Losorelli, S., Nguyen, D. T., Dmochowski, J. P., Kaneshiro, B. (2017). NMED-T: A tempo-focused dataset of "
    "cortical and behavioral responses to naturalistic music. ISMIR. https://purl.stanford.edu/jn859kj8079"
)
WHERE = "https://purl.stanford.edu/jn859kj8079"
TEMPI = {  # number: title, artist, beats a minute (the authors' own)
    21: ("First Fires", "Bonobo", 55.97),
    22: ("Oino", "LA Priest", 69.44),
    23: ("Tiptoes", "Daedelus", 74.26),
    24: ("Careless Love", "Croquet Club", 82.42),
    25: ("Lebanese Blonde", "Thievery Corporation", 91.46),
    26: ("Canopée", "Polo & Pan", 96.15),
    27: ("Doing Yoga", "Kazy Lambist", 108.70),
    28: ("Until the Sun Needs to Rise", "Rüfüs du Sol", 120.00),
    29: ("Silent Shout", "The Knife", 128.21),
    30: ("The Last Thing You Should Do", "David Bowie", 150.00),
}


def song(number):
    """Return the song of a number from 21 to 30.

    Examples
    --------
    >>> song(21).title, song(21).columns
    ('First Fires', {'artist': 'Bonobo', 'bpm': 55.97})
    """
    title, artist, bpm = TEMPI[number]
    names = (f"song{number}", str(number), title, f"{title} - {artist}", f"{artist} - {title}")
    return _nmed.Song(f"song{number}", title, names, {"artist": artist, "bpm": bpm})


SONGS = {number: song(number) for number in TEMPI}


def ingest(
    source, store_path, *, audio=None, unit="uV", max_mismatch=_audio.MAX_MISMATCH, offsets=None, overwrite=False
):
    """Read NMED-T into a store.

    Parameters
    ----------
    source : str or Path
        Folder of the ``songNN_Imputed.mat`` (or one such file); files are found at any depth.
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
    files, doubles = _nmed.find_files(source, r"song(\d+)_Imputed\.mat")
    raw_files, raw_doubles = _nmed.find_files(source, r"(\d+)_(\d+)_raw\.mat")
    if not files and not raw_files:
        raise _nmed.nothing_found(source, "files named songNN_Imputed.mat (21 to 30) or PP_R_raw.mat", WHERE)
    simulated = _common.is_simulated(source if source.is_dir() else source.parent)
    songs = _nmed.stand_ins(SONGS) if simulated else SONGS
    jobs = [partial(_nmed.complain, line) for line in doubles + raw_doubles]
    for path, match in files:
        number = int(match[1])
        if number not in songs:
            jobs.append(
                partial(
                    _nmed.complain,
                    f"{path}: expected a song number from 21 to 30, found {number}; rename the file, or read it with own",
                )
            )
            continue
        file = _nmed.SongFile(path, songs[number], data_key=f"data{number}", subs_key=f"subs{number}")
        jobs.append(partial(_nmed.ingest_file, file, settings))
    for path, match in raw_files:
        jobs.append(partial(_nmed_t_extras.ingest_raw, path, f"S{int(match[1]):02d}", match[2], songs, settings))
    for name, read in _nmed_t_extras.TABLES.items():
        for path, _ in _nmed.find_files(source, name)[0] if source.is_dir() else []:
            jobs.append(partial(read, path, list(SONGS)))
    return _common.run(
        store_path,
        jobs,
        module=modules[__name__],
        montage=_nmed.MONTAGE,
        identity=identity,
        overwrite=overwrite,
        simulated=simulated,
    )
