"""Keep the converters' and runtimes' chatter away from the user's terminal.

TensorFlow, absl, XNNPACK and oneDNN write to the file descriptors 1 and 2 from C++, some of them before any
log level applies; tf2onnx and Keras print and log from Python. Only a redirection of the descriptors
themselves silences all of them. What they wrote is kept, so that the end of it can explain a failed
conversion.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import IO, Any

_NOISY_LOGGERS = ("absl", "tensorflow", "tf2onnx", "keras", "onnx", "onnxruntime", "ai_edge_litert")
_lock = threading.RLock()
_active: Captured | None = None


class Captured:
    """What was written while output was quiet.

    Args:
        file: The temporary file that standard output and error go to.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._text: str | None = None

    def close(self) -> None:
        """Keep the end of the text and let go of the file."""
        self._text = self.tail(200)
        self._file.close()

    def tail(self, lines: int = 20) -> str:
        """The last lines that were written.

        Args:
            lines: How many lines at most.
        """
        if self._text is not None:
            return "\n".join(self._text.splitlines()[-lines:])
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        size = os.fstat(self._file.fileno()).st_size
        start = max(0, size - 200_000)
        data = os.pread(self._file.fileno(), 200_000, start)
        return "\n".join(data.decode("utf-8", "replace").splitlines()[-lines:])


@contextlib.contextmanager
def quiet() -> Iterator[Captured]:
    """Redirect standard output and error, at the level of descriptors, while the block runs.

    Blocks may be nested: inner ones share the outer one's capture. However the block ends, also by Ctrl-C,
    the descriptors, the Python streams, the log levels and the warning filters are what they were.

    A progress bar that redraws from a thread is silenced as well, unless it writes to a duplicate of the
    descriptor that was made before (``os.fdopen(os.dup(2), "w")``).

    Yields:
        What was written, of use after a failure.
    """
    global _active
    with _lock:
        if _active is not None:
            yield _active
            return
        with tempfile.TemporaryFile() as file:
            captured = Captured(file)
            _active = captured
            try:
                with _redirected_descriptors(file), _redirected_streams(file), _hushed_loggers():
                    yield captured
            finally:
                _active = None
                captured.close()


@contextlib.contextmanager
def _redirected_descriptors(file: IO[bytes]) -> Iterator[None]:
    saved: dict[int, int] = {}
    _flush_streams()
    try:
        for descriptor in (1, 2):
            # A daemon or a GUI process may have no such descriptor; then nothing can be written to it either.
            with contextlib.suppress(OSError):
                saved[descriptor] = os.dup(descriptor)
                os.dup2(file.fileno(), descriptor)
        yield
    finally:
        _flush_streams()
        for descriptor, original in saved.items():
            os.dup2(original, descriptor)
            os.close(original)


@contextlib.contextmanager
def _redirected_streams(file: IO[bytes]) -> Iterator[None]:
    """Redirect Python's streams too: under pytest or Jupyter they are not descriptors 1 and 2."""
    before = sys.stderr
    with open(os.dup(file.fileno()), "w", encoding="utf-8", errors="replace", buffering=1) as stream:
        try:
            with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
                yield
        finally:
            _let_go(stream, before)


def _let_go(stream: IO[str], before: Any) -> None:
    """Take a stream that is about to be closed out of logging, where libraries have put it.

    A library that logs before anybody has set logging up gives the root logger a handler: it goes again. Handlers of a
    library's own logger stay, and write to where they would have written.
    """
    loggers = [logger for logger in logging.Logger.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    for logger in (logging.getLogger(), *loggers):
        for handler in list(logger.handlers):
            if not isinstance(handler, logging.StreamHandler) or handler.stream is not stream:
                continue
            if logger is logging.getLogger() or before is None:
                logger.removeHandler(handler)
            else:
                handler.setStream(before)


@contextlib.contextmanager
def _hushed_loggers() -> Iterator[None]:
    # Handlers may hold a stream of their own (a log file, pytest's caplog), so the level is what silences
    # them.
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in _NOISY_LOGGERS)]
    levels = [logger.level for logger in loggers]
    root.addFilter(_drop_below_error)
    try:
        for logger in loggers[1:]:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(_drop_below_error)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _drop_below_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A stream may be None (pythonw) or closed; there is nothing to flush then.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


_STARTUP = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3", "TF_CPP_MIN_VLOG_LEVEL": "0"}


def silence_tensorflow_startup() -> None:
    """Set the environment variables that lower TensorFlow's log level, unless the user set them.

    Call before TensorFlow or Keras is imported. A few lines come before any level applies: import with
    `import_quietly` to be rid of them as well.
    """
    for name, value in _STARTUP.items():
        os.environ.setdefault(name, value)


def import_quietly(name: str) -> ModuleType:
    """Import a module that writes while it starts (tensorflow, keras, tf2onnx). The environment is left as it was.

    Args:
        name: The module's dotted name.

    Raises:
        ImportError: The module is not installed.
    """
    if name in sys.modules:
        return sys.modules[name]
    before = dict(os.environ)
    silence_tensorflow_startup()
    try:
        with quiet():
            return importlib.import_module(name)
    finally:
        for variable in _STARTUP:
            if variable not in before:
                os.environ.pop(variable, None)


def require(name: str, *, package: str, extra: str, needed_for: str) -> Any:
    """Import a module of an optional dependency.

    Args:
        name: The module's dotted name.
        package: The package that brings it, as on PyPI.
        extra: The extra of kerasurgeon that installs it.
        needed_for: What it is needed for, as a noun phrase.

    Raises:
        MissingExtraError: It is not installed.
    """
    from kerasurgeon.errors import missing_extra

    try:
        return import_quietly(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != name.split(".")[0]:
            raise
        raise missing_extra(package, extra, needed_for) from error
