"""What a written page holds, without a browser: its links, and its embedded pictures and sounds with their types."""

import base64
import io
import re
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

import bs4
import soundfile

_ADDRESS = ("src", "href", "poster", "data", "xlink:href", "action", "formaction", "srcset", "background")
_MAGIC = {
    b"OggS": "audio/ogg",
    b"RIFF": "audio/wav",
    b"fLaC": "audio/flac",
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"<svg": "image/svg+xml",
    b"<?xm": "image/svg+xml",
}
_SAME = {"audio/x-wav": "audio/wav", "audio/wave": "audio/wav"}


def tree(path):
    return bs4.BeautifulSoup(Path(path).read_text(encoding="utf-8"), "html.parser")


def addresses(page):
    """Every ``(tag, address)`` of a page, those in the offline slider's data among them."""
    for tag in page.find_all(True):
        for name in _ADDRESS:
            if tag.name != "meta" and tag.get(name):
                yield tag, tag[name]
    for script in page.find_all("script", type="application/json"):
        for address in re.findall(r'"(data:[^"]+)"', script.get_text()):
            yield script, address


def dead_links(path):
    """Addresses that lead nowhere: no such place on the page, no such file, or something that is fetched from elsewhere."""
    page, dead = tree(path), []
    places = {tag["id"] for tag in page.find_all(id=True)}
    for tag, address in addresses(page):
        if address.startswith("data:"):
            continue
        if re.match(r"https?://", address):
            if tag.name != "a":
                dead.append(address)
            continue
        file, _, place = address.partition("#")
        target = Path(path).parent / unquote(file) if file else Path(path)
        if re.match(r"[a-z][\w+.-]*:|//", address, re.IGNORECASE) or not target.is_file():
            dead.append(address)
        elif place:
            held = places if target == Path(path) else {tag["id"] for tag in tree(target).find_all(id=True)}
            dead += [] if unquote(place) in held else [address]
    return dead


def media(path):
    """``(type that the page states, type of the content, bytes)`` of everything embedded, but for an empty icon."""
    for _, address in addresses(tree(path)):
        if not address.startswith("data:") or address == "data:,":
            continue
        head, _, data = address.partition(",")
        content = base64.b64decode(data, validate=True) if head.endswith(";base64") else unquote_to_bytes(data)
        found = next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), "unknown")
        stated = head.removeprefix("data:").partition(";")[0]
        yield _SAME.get(stated, stated), found, content


def sounds(path):
    """``(format, rate, samples)`` of every sound, decoded to its end."""
    found = []
    for stated, _, content in media(path):
        if stated.startswith("audio/"):
            kind = soundfile.info(io.BytesIO(content)).format
            samples, rate = soundfile.read(io.BytesIO(content))
            found.append((kind, rate, len(samples)))
    return found
