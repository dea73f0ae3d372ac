"""Folders for tests."""
import atexit
import pathlib
import shutil
import tempfile


def open_folder():
    """A fixture in place of tmp_path, where another user is to reach what is in it: pytest's own folders are root's alone, and
    every session that starts makes them so again. Taken away at the end of the session, behind all who use it."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="shunt-e2e-"))
    folder.chmod(0o711)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
