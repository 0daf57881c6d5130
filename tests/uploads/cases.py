"""What the tests of uploads share: small limits, and what lies in a folder."""

from eegviz import uploads

SMALL = uploads.Limits(file_bytes=2**20, session_files=3, session_bytes=3 * 2**20 // 2, server_bytes=2 * 2**20)


def snapshot(folder):
    """Every file below a folder and its size."""
    return sorted((str(one.relative_to(folder)), one.lstat().st_size) for one in folder.rglob("*"))
