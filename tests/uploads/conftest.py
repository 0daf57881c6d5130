"""A session with small limits, and what it must refuse."""

import pytest

from eegviz import uploads
from eegviz.errors import DataError

from .cases import SMALL, snapshot


@pytest.fixture
def root(tmp_path):
    return tmp_path / "uploads"


@pytest.fixture
def session(root):
    with uploads.Session(root, limits=SMALL) as made:
        yield made


@pytest.fixture
def refused(session, root):
    """Receive and read what must be refused, and see that nothing of it stays."""

    def refuse(name, data, message, *, session=session):
        before = snapshot(root)
        with pytest.raises(DataError, match=message) as caught:
            uploads.read(session.receive(name, data))
        assert snapshot(root) == before
        text = str(caught.value)
        assert str(root) not in text
        assert "\n" not in text
        return text

    return refuse
