"""Downloads one revision of a ModelScope model into a folder: every byte verified, nothing fetched twice."""

__version__ = "0.1.0"
