"""Explore emotion in video: composable functions that return xarray Datasets.

Names are loaded on first use, so that ``import emokit`` stays quick and brings
in no torch, librosa, PyAV or py-feat.
"""

import logging

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

logging.getLogger("emokit").addHandler(logging.NullHandler())
del logging, lazy_loader
